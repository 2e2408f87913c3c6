"""Requests that make no sense: each is refused in one line that names the thing and the remedy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dualnet.cut.split import Request, split, write
from dualnet.errors import DualnetError, StorageFailed, UsageError
from tests.cut.singles import CHAIN, DATA, SOLVER, classifier, conv, relu, write_single

pytestmark = pytest.mark.usefixtures("workdir")

NO_TEST = DATA.split("layer")[1].join(["layer", ""])
UNTESTED = SOLVER.replace("test_iter: 6", "")
SHARED = "param { name: 'w' } param { name: 'b' }"
BRANCH = (
    DATA
    + conv("conv1", "data")
    + conv("left", "conv1")
    + conv("right", "conv1")
    + "layer { name: 'sum' type: 'Eltwise' bottom: 'left' bottom: 'right' top: 'sum' }\n"
    + classifier("sum")
)
TEST_ONLY = (
    "layer { name: 'accuracy' type: 'Accuracy' bottom: 'ip' bottom: 'label' top: 'accuracy' "
    "include { phase: TEST } }\n"
)
LATE_DROPOUT = CHAIN.replace(
    "layer { name: \"conv2\"",
    "layer { name: 'drop1' type: 'Dropout' bottom: 'conv1' top: 'conv1' "
    "include { phase: TRAIN } }\nlayer { name: \"conv2\"",
)  # fmt: skip
TRAIN_BRANCH = (
    DATA + conv("conv1", "data")
    + relu("extra", "conv1", "extra", "include { phase: TRAIN }")
    + conv("conv2", "conv1")
    + "layer { name: 'sum' type: 'Eltwise' bottom: 'conv2' bottom: 'extra' top: 'sum' "
    "include { phase: TRAIN } }\n"
    "layer { name: 'sum' type: 'Power' bottom: 'conv2' top: 'sum' include { phase: TEST } }\n"
    + classifier("sum")
)  # fmt: skip
SIDES_DIFFER = (
    DATA + conv("conv1", "data") + conv("conv2", "conv1")
    + relu("pick", "conv2", "picked", "include { phase: TRAIN }")
    + relu("choose", "data", "picked", "include { phase: TEST }")
    + conv("conv3", "picked") + classifier("conv3")
)  # fmt: skip


#: (net, solver, options of the request, parts of the message)
CASES = {
    # --at
    "unknown blob": (CHAIN, SOLVER, {"at": ["conv9"]},
        ["--at conv9: no such blob", "did you mean conv", "its blobs: data, label, conv1"]),
    "a layer's name": (CHAIN, SOLVER, {"at": ["relu2"]},
        ["--at relu2: that is a layer", "its tops: conv2"]),
    "data": (CHAIN, SOLVER, {"at": ["data"], "dual": ["conv1"]},
        ["--at data: no layer before it learns", "cut after a layer with weights"]),
    "label": (CHAIN, SOLVER, {"at": ["label"], "dual": ["loss"]},
        ["--dual loss: it adds to the loss"]),
    "frozen below": (CHAIN.replace('top: "conv1" ', 'top: "conv1" param { lr_mult: 0 } '
                                   "param { lr_mult: 0 }", 1), SOLVER,
        {"at": ["conv1"], "dual": ["conv2"]}, ["--at conv1: no layer before it learns"]),
    "nothing above": (CHAIN, SOLVER, {"at": ["loss"], "dual": ["ip"]},
        ["--at loss: no layer reads it", "closer to the data"]),
    "no loss above": (CHAIN + relu("spare", "conv2", "spare"), SOLVER,
        {"at": ["spare"], "dual": ["ip"]}, ["--at spare: no layer reads it"]),
    "no loss in training above": (CHAIN + relu("a", "conv2", "a") + relu("b", "a", "b"), SOLVER,
        {"at": ["a"], "dual": ["b"]}, ["--at a: no loss in phase TRAIN depends on it"]),
    "blob of the test phase": (CHAIN + TEST_ONLY, SOLVER, {"at": ["accuracy"], "dual": ["ip"]},
        ["--at accuracy: made in phase TEST only"]),
    "named twice": (CHAIN, SOLVER, {"at": ["conv1", "conv1"], "dual": ["conv2"]},
        ["--at names conv1 twice"]),
    "one above the other": (CHAIN, SOLVER, {"at": ["conv1", "conv2"], "dual": ["conv3"]},
        ["--at conv2: it is made from conv1", "name conv1 or conv2, not both"]),
    "gradient that stops": (
        CHAIN.replace('top: "conv3"', 'top: "conv3" propagate_down: false', 1), SOLVER,
        {}, ["--at conv2: the loss has no gradient with respect to it"]),
    "crossing in training alone": (TRAIN_BRANCH, SOLVER, {"at": ["conv2"], "dual": ["sum"]},
        ["extra crosses the cut in phase TRAIN", "no layer makes it in phase TEST"]),
    "partition that differ": (SIDES_DIFFER, SOLVER, {"at": ["conv2"], "dual": ["conv3"]},
        ["picked depends on the cut in one phase and not in the other"]),
    "overwritten in training alone": (
        LATE_DROPOUT, SOLVER, {"at": ["conv1"], "dual": ["conv2"]},
        ["layer drop1 works on it in place in one phase only", "top of its own"]),
    # --dual
    "unknown layer": (CHAIN, SOLVER, {"dual": ["conv33"]},
        ["--dual conv33: no such layer", "did you mean conv3?", "that read the cut: conv3"]),
    "below the cut": (CHAIN, SOLVER, {"dual": ["conv2"]},
        ["--dual conv2: it comes before the cut", "layers that read the cut: conv3"]),
    "in place on the cut": (CHAIN, SOLVER, {"dual": ["relu2"]},
        ["--dual relu2: it works in place on the cut blob conv2", "read the cut: conv3"]),
    "not on the cut": (CHAIN, SOLVER, {"at": ["conv1"], "dual": ["conv3"]},
        ["--dual conv3: it reads conv2, which layer relu2 after the cut makes", "name relu2"]),
    "a gap": (CHAIN, SOLVER, {"at": ["conv1"], "dual": ["conv2", "conv3"]},
        ["--dual conv3: it reads conv2, which layer relu2 after the cut makes"]),
    "a data layer": (CHAIN, SOLVER, {"dual": ["data"]}, ["--dual data: it makes data"]),
    "a loss": (CHAIN, SOLVER, {"at": ["ip"], "dual": ["loss"]},
        ["--dual loss: it adds to the loss", "leave it out of --dual"]),
    "a layer with a loss_weight": (
        CHAIN.replace('top: "conv3"', 'top: "conv3" loss_weight: 0.1', 1), SOLVER, {},
        ["--dual conv3: it adds to the loss"]),
    "a layer of the test phase": (CHAIN + TEST_ONLY, SOLVER,
        {"at": ["ip"], "dual": ["accuracy"]}, ["--dual accuracy: it is in phase TEST only"]),
    "twice": (CHAIN, SOLVER, {"dual": ["conv3", "conv3"]}, ["--dual names conv3 twice"]),
    "without a top": (CHAIN + "layer { name: 'quiet' type: 'Silence' bottom: 'conv2' }", SOLVER,
        {"dual": ["quiet"]}, ["--dual quiet: it has no top"]),
    "not for the loss": (CHAIN + relu("spare", "conv2", "spare"), SOLVER, {"dual": ["spare"]},
        ["--dual spare: no loss in phase TRAIN depends on its output"]),
    # the net
    "shared across the cut": (
        DATA + conv("conv1", "data", more=SHARED.replace("'w'", "'u'"))
        + conv("conv2", "conv1", more=SHARED.replace("'b'", "'c'"))
        + conv("conv3", "conv2") + conv("conv4", "conv3", more=SHARED.replace("'b'", "'d'"))
        + classifier("conv4"), SOLVER, {},
        ["layers conv2 (before the cut) and conv4 (after the cut) share the parameter w",
         "cut before or after both"]),
    "shared with the dual section": (
        DATA + conv("conv1", "data") + conv("conv2", "conv1") + conv("conv3", "conv2", more=SHARED)
        + conv("conv4", "conv3", more=SHARED) + classifier("conv4"), SOLVER, {},
        ["layers conv3 (the dual section) and conv4 (after the cut) share the parameter w"]),
    "shared with the section below": (
        DATA + conv("conv1", "data") + conv("conv2", "conv1", more=SHARED)
        + conv("conv3", "conv2", more=SHARED) + classifier("conv3"), SOLVER, {},
        ["layers conv2 (before the cut) and conv3 (the dual section) share"]),
    "blob nobody makes": (CHAIN.replace('bottom: "conv2"', 'bottom: "conv22"', 1), SOLVER, {},
        ["layer relu2 reads conv22 in phase TRAIN", "did you mean conv2?"]),
    "blob made twice": (CHAIN + conv("conv4", "conv1", "conv2"), SOLVER, {},
        ["layer conv4 makes conv2, which layer relu2 makes already"]),
    "two layers of one name": (CHAIN + conv("conv1", "conv1", "other"), SOLVER, {},
        ["2 layers named 'conv1' in phase TRAIN", "give one of them another"]),
    "both kinds of rules": (
        CHAIN.replace('top: "ip"', 'top: "ip" include { phase: TRAIN } exclude { phase: TEST }'),
        SOLVER, {}, ["layer ip has include and exclude rules"]),
    "no data in the test phase": (
        CHAIN.replace(DATA, NO_TEST), SOLVER, {},
        ["layer conv1 reads data in phase TEST, and no layer before it makes that"]),
    "what Caffe refuses": (CHAIN.replace("kernel_size: 3", "kernel_size: 30", 1), SOLVER, {},
        ["Caffe refuses phase TRAIN"]),
    "read beside an in-place layer": (
        CHAIN.replace('layer { name: "relu1"', conv("left", "conv1") + 'layer { name: "relu1"'),
        SOLVER, {}, ["Caffe refuses phase TRAIN", "conv1"]),
    "unknown type": (CHAIN.replace("Convolution", "Convolutoin", 1), SOLVER, {},
        ["Caffe refuses phase TRAIN", "Convolutoin"]),
    "data that is not here": (CHAIN.replace("train_lmdb", "gone_lmdb"), SOLVER, {},
        ["layer data: its source 'data/digits/gone_lmdb' is not here", "--shape data=3,32,32"]),
    "mean that is not here": (
        CHAIN.replace("scale: 0.0625", "mean_file: 'gone'", 1), SOLVER, {},
        ["layer data: its mean_file 'gone' is not here", "--shape"]),
    "old format": ("layers { layer { name: 'a' type: 'data' } top: 'data' }", SOLVER, {},
        ["the format of 2013", "upgrade_net_proto_text"]),
    "two formats": (CHAIN + "layers { name: 'a' type: RELU }", SOLVER, {},
        ["'layer' and 1 'layers' fields, which are of two layouts"]),
    "a mistake in the text": (CHAIN.replace("bottom", "botom", 1), SOLVER, {},
        ["single_train_test.prototxt:", "botom", "(net prototxt)"]),
    "a solver for the net": (SOLVER, SOLVER, {}, ["no field named \"net\"", "(net prototxt)",
        "this is a solver: give the net that it names"]),
    # the solver
    "several batches an update": (CHAIN, SOLVER + "iter_size: 4", {"target": "updated"},
        ["iter_size: 4 with coupling.target: updated", "set iter_size: 1"]),
    "no batch an update": (CHAIN, SOLVER + "iter_size: 0", {}, ["iter_size: 0; 1 or more"]),
    "a net for the solver": (CHAIN, CHAIN, {}, ["(solver prototxt)"]),
    "no solver": (CHAIN, SOLVER, {"solver": "gone.prototxt"},
        ["gone.prototxt: cannot read the solver prototxt"]),
    # the coupling and the rest
    "unknown target": (CHAIN, SOLVER, {"target": "gradients"},
        ["coupling.target", "'gradients' is none of activation, updated, gradient"]),
    "unknown tie": (CHAIN, SOLVER, {"tie": "always"}, ["coupling.tie", "none of never, start"]),
    "unknown loss": (CHAIN, SOLVER, {"loss": "square"}, ["coupling.loss", "euclidean"]),
    "target and tie that exclude each other": (
        CHAIN, SOLVER, {"target": "activation", "tie": "every"}, ["coupling.tie: every"]),
    "shape of no data": (CHAIN, SOLVER, {"shapes": {"conv1": [3, 8, 8]}},
        ["--shape conv1: no data layer makes it", "data, label"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_refused_in_one_line(tmp_path, name):
    net, solver, options, parts = CASES[name]
    path = write_single(tmp_path / "nets", net, solver)
    settings = {"output": "cut", **options}
    cut = (settings.pop("at", ["conv2"]), settings.pop("dual", ["conv3"]))
    with pytest.raises(DualnetError) as caught:
        split(Request(path, [cut], **settings))
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message
    assert caught.value.exit_code == 2
    assert not os.path.exists("cut")


def test_there_are_enough_kinds():
    assert len(CASES) >= 30


def test_solver_is_looked_for_beside_the_net(tmp_path):
    path = write_single(tmp_path / "nets")
    os.remove(path.replace("train_test", "solver"))
    with pytest.raises(DualnetError, match=r"no solver of a matching name beside it.*--solver"):
        split(Request(path, [(["conv2"], ["conv3"])], "cut"))


# Writing.


def request(tmp_path, output):
    return Request(write_single(tmp_path / "nets"), [(["conv2"], ["conv3"])], output)


def test_files_are_not_replaced_without_force(tmp_path):
    asked = request(tmp_path, "cut")
    result = split(asked)
    write(asked, result)
    solver = Path("cut/net2_solver.prototxt")
    solver.write_text("mine")
    with pytest.raises(
        UsageError, match=r"cut/net1_train_test.prototxt: is there already.*--force"
    ):
        write(asked, result)
    assert solver.read_text() == "mine"
    write(asked, result, force=True)
    assert "mine" not in solver.read_text()


def test_one_file_in_the_way_keeps_all_from_being_written(tmp_path):
    asked = request(tmp_path, "cut")
    os.mkdir("cut")
    with open("cut/dual.yaml", "w", encoding="utf-8") as file:
        file.write("mine")
    with pytest.raises(UsageError, match="cut/dual.yaml: is there already"):
        write(asked, split(asked))
    assert os.listdir("cut") == ["dual.yaml"]


def test_output_that_is_a_file(tmp_path):
    asked = request(tmp_path, "file")
    with open("file", "w", encoding="utf-8") as file:
        file.write("mine")
    with pytest.raises(StorageFailed, match="file: cannot write the nets"):
        write(asked, split(asked), force=True)


def test_what_is_split_is_never_replaced(tmp_path):
    folder = str(tmp_path / "nets")
    asked = request(tmp_path, folder)
    os.rename(asked.net, f"{folder}/net1_train_test.prototxt")
    asked = Request(
        f"{folder}/net1_train_test.prototxt", [(["conv2"], ["conv3"])], folder,
        f"{folder}/single_solver.prototxt",
    )  # fmt: skip
    with pytest.raises(UsageError, match="would replace what is being split"):
        write(asked, split(asked), force=True)
