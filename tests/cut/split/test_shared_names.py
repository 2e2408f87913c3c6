"""Layers that share a name or have none are told apart by their place, as Caffe tells them.

Public nets are full of them: losses without a name, every ReLU called "relu", two Crops.
"""

from __future__ import annotations

import pytest

from dualnet import config as cfg
from dualnet.cut.drawing.draw import draw, load_graphs
from dualnet.cut.graph import NetGraph, read_net
from dualnet.cut.plan.cut_plan import Request as PlanRequest
from dualnet.cut.plan.cut_plan import plan
from dualnet.cut.split import Request, split
from dualnet.errors import ConfigError
from tests.cut.both import train_pieces, train_whole_and_cut
from tests.cut.singles import CHAIN, DATA, SOLVER, classifier, conv, cut_in_two, relu, write_single

pytestmark = pytest.mark.usefixtures("workdir")


def crop(bottom, top):
    return (
        f"layer {{ type: 'Crop' name: 'crop' bottom: '{bottom}' bottom: 'data' top: '{top}' "
        "crop_param { axis: 2 offset: 0 } }\n"
    )


def nameless(text):
    return text.replace('name: "" ', "")


#: Losses without names, ReLUs of one name, two Crops on either side of a cut at conv2.
SIDES = nameless(
    DATA
    + conv("conv1", "data") + relu("relu", "conv1") + crop("conv1", "side1")
    + conv("conv2", "conv1") + relu("relu", "conv2") + crop("conv2", "side2")
    + conv("conv3", "side2") + relu("relu", "conv3")
    + classifier("side1", "ip_a", "").replace('top: ""', 'top: "loss_a" loss_weight: 0.3')
    + classifier("conv3", "ip_b", "").replace('top: ""', 'top: "loss_b"')
)  # fmt: skip
#: Between the cut at conv1 and the next weights: two layers of one name, and one without.
BETWEEN = nameless(
    DATA + conv("conv1", "data") + "layer { name: 'step' type: 'Power' bottom: 'conv1' top: 'half' "
    "power_param { scale: 0.5 } }\n"
    "layer { name: 'step' type: 'Power' bottom: 'half' top: 'more' power_param { scale: 3 } }\n"
    + relu("", "more")
    + conv("conv2", "more")
    + relu("", "conv2")
    + classifier("conv2")
)


def nets_of(texts, folder):
    return {
        piece: NetGraph(read_net(f"{folder}/cut/{piece}_train_test.prototxt"), "TRAIN", "")
        for piece in ("net1", "net2")
    }


@pytest.mark.parametrize(
    ("text", "at", "dual"),
    [
        (SIDES, "conv1", "conv2"),
        (SIDES, "conv2", "conv3"),
        (SIDES, "side2", "conv3"),
        (BETWEEN, "conv1", "half more conv2"),
        (BETWEEN, "conv1", "conv2"),
        (BETWEEN, "half", "conv2"),
    ],
)
def test_pieces_train_as_the_single_net(tmp_path, text, at, dual):
    yaml, _, _ = cut_in_two(tmp_path, text, at, dual)
    outcome = train_whole_and_cut(yaml, str(tmp_path / "run"), 4, "train.batch_size=8")
    assert outcome.weight < 1e-5
    assert outcome.step < 1e-3


@pytest.mark.parametrize("target", ["updated", "prox", "admm", "backprop"])
def test_every_target_runs_with_them(tmp_path, target):
    yaml, _, _ = cut_in_two(tmp_path, BETWEEN, "conv1", "conv2", target=target)
    train_pieces(yaml, str(tmp_path / "run"), "train.max_iter=2", "train.batch_size=8",
                 "train.test_iter=1", "train.test_interval=2")  # fmt: skip


@pytest.mark.parametrize("schedule", [["keep"], ["recompute"]])
def test_running_ahead_with_them(tmp_path, schedule):
    yaml, _, _ = cut_in_two(tmp_path, SIDES, "conv2", "conv3")
    train_pieces(yaml, str(tmp_path / "run"), "train.max_iter=4", "train.batch_size=8",
                 "train.schedule=overlapped", f"train.stale_activations={schedule[0]}",
                 "train.test_interval=0")  # fmt: skip


def test_dual_layers_get_names_of_their_own(tmp_path):
    yaml, texts, _ = cut_in_two(tmp_path, BETWEEN, "conv1", "conv2")
    dual = cfg.load(yaml).cuts[0].dual
    assert list(dual) == ["half", "more", "relu", "conv2"]
    for piece, graph in nets_of(texts, tmp_path).items():
        for name in dual if piece == "net1" else dual.values():
            assert graph.layer(name, "cut.dual")


def test_layers_keep_the_names_that_they_have(tmp_path):
    _, texts, remarks = cut_in_two(tmp_path, SIDES, "conv2", "conv3")
    graphs = nets_of(texts, tmp_path)
    assert [layer.name for layer in graphs["net1"].layers if layer.type == "ReLU"] == ["relu"] * 2
    (loss,) = [x for x in graphs["net2"].layers if x.type == "SoftmaxWithLoss"]
    assert not loss.HasField("name")
    assert not [line for line in remarks if "comment" in line]


def test_comments_stay_with_layers_without_a_name(tmp_path):
    marked = SIDES.replace(
        'layer { type: "SoftmaxWithLoss"', '# the loss\nlayer { type: "SoftmaxWithLoss"'
    )
    assert marked.count("# the loss") == 2
    _, texts, _ = cut_in_two(tmp_path, marked, "conv2", "conv3")
    assert texts["net1_train_test.prototxt"].count("# the loss") == 1
    assert texts["net2_train_test.prototxt"].count("# the loss") == 1


def test_in_place_layers_of_one_name_get_different_blobs(tmp_path):
    """Both ReLUs change what has to stay whole: each needs a blob of its own, and a name for it."""
    text = nameless(
        DATA + conv("conv1", "data") + conv("conv2", "conv1") + relu("relu", "conv2")
        + conv("conv3", "conv2") + relu("relu", "conv3") + relu("", "conv3") + classifier("conv3")
    )  # fmt: skip
    yaml, texts, _ = cut_in_two(tmp_path, text, "conv1", "conv2 conv3")
    for graph in nets_of(texts, tmp_path).values():
        assert all(top for layer in graph.layers for top in layer.top)
    assert train_whole_and_cut(yaml, str(tmp_path / "run"), 3, "train.batch_size=8").weight < 1e-5


@pytest.mark.parametrize(
    ("dual", "parts"),
    [
        ("step conv2", ["--dual step: 2 layers have that name", "by its top instead: half, more"]),
        ("relu conv2", ["--dual relu: no such layer", "read the cut: half"]),
    ],
)
def test_ambiguous_dual_layers_are_asked_for_by_their_tops(tmp_path, dual, parts):
    path = write_single(tmp_path, BETWEEN)
    with pytest.raises(ConfigError) as caught:
        split(Request(path, [(["conv1"], dual.split())], "cut"))
    for part in parts:
        assert part in str(caught.value)


WEIGHTED = DATA + conv("conv", "data", "a") + conv("conv1", "a") + conv("conv", "conv1", "b")
WEIGHTED += classifier("b")
MIXED = DATA + conv("conv1", "data") + conv("conv2", "conv1") + relu("conv2", "conv2")
MIXED += classifier("conv2")


@pytest.mark.parametrize(("text", "name"), [(WEIGHTED, "conv"), (MIXED, "conv2")])
def test_layers_with_weights_that_share_a_name_are_refused(tmp_path, text, name):
    path = write_single(tmp_path, text)
    requests = (
        lambda: split(Request(path, [(["conv1"], ["ip"])], "cut")),
        lambda: plan(PlanRequest(path, repeats=1)),
    )
    for request in requests:
        with pytest.raises(ConfigError) as caught:
            request()
        message = str(caught.value)
        assert f"2 layers named '{name}' in phase TRAIN" in message
        assert "has weights, which a caffemodel knows by the layer's name" in message


def test_a_hand_written_piece_with_them_is_refused(tmp_path):
    yaml, _, _ = cut_in_two(tmp_path, CHAIN, "conv1", "conv2")
    path = tmp_path / "cut/net2_train_test.prototxt"
    path.write_text(path.read_text().replace('name: "conv3"', 'name: "ip"'))
    with pytest.raises(ConfigError, match="2 layers named 'ip', one of them of type .* weights"):
        train_pieces(yaml, str(tmp_path / "run"), "train.max_iter=1")


# The same kind: names that a dict, a file or a drawing could take for others.

ODD = {
    "slashes and spaces": (
        "conv1 a/b.c", 'conv2 "q" #2: x', "ip {z}",
    ),
    "case": ("conv", "Conv", "CONV"),
    "names that split makes": ("conv2p", "conv2", "conv2pp"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_odd_names_train_as_any(tmp_path, kind):
    names = [name.replace('"', '\\"') for name in ODD[kind]]
    one, two, three = names
    text = (
        DATA + conv(one, "data") + relu("relu", one) + conv(two, one) + relu("relu", two)
        + conv(three, two) + classifier(three)
    )  # fmt: skip
    path = write_single(tmp_path, text)
    request = Request(path, [([ODD[kind][0]], [ODD[kind][1]])], str(tmp_path / "cut"))
    from dualnet.cut.split import write

    result = split(request)
    write(request, result)
    outcome = train_whole_and_cut(result.yaml, str(tmp_path / "run"), 3, "train.batch_size=8")
    assert outcome.weight < 1e-5
    config = cfg.load(result.yaml)
    boxes = [
        line for line in draw(load_graphs(config), config).splitlines() if "label=<<B>" in line
    ]
    keys = [line.split(" [")[0] for line in boxes]
    assert len(set(keys)) == len(keys)


def test_one_name_in_each_phase_is_one_layer(tmp_path):
    """Two layers `conv2`, one for each phase, are what Caffe shares weights between."""
    text = (
        DATA + conv("conv1", "data")
        + conv("conv2", "conv1", more="include { phase: TRAIN }")
        + conv("conv2", "conv1", more="include { phase: TEST }")
        + relu("relu", "conv2") + relu("relu", "conv2") + classifier("conv2")
    )  # fmt: skip
    yaml, _, _ = cut_in_two(tmp_path, text, "conv1", "conv2")
    assert dict(cfg.load(yaml).cuts[0].dual) == {"conv2": "conv2p"}
    outcome = train_whole_and_cut(yaml, str(tmp_path / "run"), 3, "train.batch_size=8")
    assert outcome.weight < 1e-5


def test_plan_measures_and_draws_them(tmp_path):
    path = write_single(tmp_path, SIDES, SOLVER.replace("test_interval: 100", "test_interval: 9"))
    found = plan(PlanRequest(path, repeats=1, exchange_dir=str(tmp_path)))
    assert {"conv1", "conv2", "side2"} <= {chain.cuts[0].at for chain in found.cuts}
    assert found.measured.costs.single.forward_s > 0
    yaml, _, _ = cut_in_two(tmp_path, SIDES, "conv2", "conv3")
    config = cfg.load(yaml)
    text = draw(load_graphs(config), config)
    for piece, label in (("single", "side1"), ("single", "side2"), ("net1", "side1"),
                        ("net2", "loss_b"), ("single", "loss_a")):  # fmt: skip
        assert f'"{piece} {label}" [' in text
