"""Merged nets against the single nets that the pieces were cut from."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from dualnet.backend import caffe_pb2
from dualnet.config import Cut, load
from dualnet.cut.graph import read_net, read_solver
from dualnet.cut.merge import merge_models, merge_nets, merge_parameters, read_parameters
from dualnet.cut.solver_nets import net_of
from dualnet.errors import ConfigError

DATA = """
layer { name: "data" type: "Data" top: "data" top: "label" }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
"""
NET1 = (
    """
layer { name: "fc2p_feed" type: "MemoryData" top: "fc2p" top: "unused" include { phase: TRAIN } }
"""
    + DATA
    + """
layer { name: "fc2" type: "InnerProduct" bottom: "conv1" top: "fc2" }
layer { name: "silence" type: "Silence" bottom: "unused" bottom: "label" include { phase: TRAIN } }
layer { name: "apart" type: "EuclideanLoss" bottom: "fc2" bottom: "fc2p" top: "apart"
  include { phase: TRAIN } }
"""
)
NET2 = """
layer { name: "feed" type: "MemoryData" top: "conv1" top: "label" }
layer { name: "fc2p" type: "InnerProduct" bottom: "conv1" top: "fc2p" }
layer { name: "relu2" type: "ReLU" bottom: "fc2p" top: "relu2" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "relu2" bottom: "label" top: "loss" }
"""
CUT = Cut(["conv1"], ["label"], {"fc2": "fc2p"})


@pytest.fixture
def merged(tmp_path):
    """Merges two prototxt given as text."""

    def merge(net1, net2, cut=CUT, stored=None):
        for name, text in (("net1", net1), ("net2", net2)):
            (tmp_path / f"{name}.prototxt").write_text(text)
        paths = [str(tmp_path / f"{name}.prototxt") for name in ("net1", "net2")]
        return merge_nets(paths, [cut], "whole", stored).net

    return merge


def summary(net):
    """Each layer as NAME: BOTTOMS > TOPS."""
    return [f"{i.name}: {' '.join(i.bottom)} > {' '.join(i.top)}" for i in net.layer]


@pytest.mark.parametrize(
    "name", ["cifar10", "cifar10_three", "digits", "digits_three", "cats_dogs"]
)
def test_shipped_pieces_are_the_shipped_single_net(name, repository, monkeypatch):
    monkeypatch.chdir(repository)
    config = load(f"configs/{name}.yaml")
    paths = [net_of(read_solver(piece.solver), piece.solver).path for piece in config.pieces]
    single = net_of(read_solver(config.single.solver), config.single.solver).net
    if name.endswith("_three"):
        # In net2 the ReLU behind its dual copy of conv2 has a top of its own.
        (relu,) = [layer for layer in single.layer if layer.name == "relu2"]
        (pool,) = [layer for layer in single.layer if layer.name == "pool2"]
        relu.top[:], pool.bottom[:] = ["relu2"], ["relu2"]
    assert merge_nets(paths, config.cuts, single.name).net == single


def test_what_served_the_exchange_goes(merged):
    assert summary(merged(NET1, NET2)) == [
        "data:  > data label",
        "conv1: data > conv1",
        "relu1: conv1 > conv1",
        "fc2: conv1 > fc2",
        "relu2: fc2 > relu2",
        "loss: relu2 label > loss",
    ]


def test_several_dual_layers_get_their_names_back(merged):
    more = 'layer { name: "%s" type: "BatchNorm" bottom: "%s" top: "%s" }'
    net1 = NET1.replace('bottom: "fc2" bottom', 'bottom: "bn" bottom')
    net1 = net1.replace('top: "fc2p" top', 'top: "bnp" top').replace(
        'bottom: "fc2p"', 'bottom: "bnp"'
    )
    parts = net1.partition('layer { name: "silence"')
    net1 = "".join([parts[0], more % ("bn", "fc2", "bn"), *parts[1:]])
    net2 = NET2.replace('bottom: "fc2p" top: "relu2"', 'bottom: "bnp" top: "relu2"')
    parts = net2.partition('layer { name: "relu2"')
    net2 = "".join([parts[0], more % ("bnp", "fc2p", "bnp"), *parts[1:]])
    lines = summary(merged(net1, net2, Cut(["conv1"], ["label"], {"fc2": "fc2p", "bn": "bnp"})))
    assert lines[3:6] == ["fc2: conv1 > fc2", "bn: fc2 > bn", "relu2: bn > relu2"]


def test_shortcuts_that_cross_beside_the_dual_layers(merged):
    data = (
        DATA
        + """
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" }
layer { name: "fc2" type: "InnerProduct" bottom: "pool1" top: "fc2" }
"""
    )
    loss = 'layer { name: "%s" type: "EuclideanLoss" bottom: "%s" bottom: "%s" top: "%s" }'
    net1 = """
layer { name: "feeds" type: "Input" top: "fc2p" top: "conv1p" }
""" + data + loss % ("a", "fc2", "fc2p", "a") + loss % ("b", "conv1", "conv1p", "b")  # fmt: skip
    net2 = """
layer { name: "feeds" type: "Input" top: "pool1" top: "conv1" top: "label" }
layer { name: "conv1_split" type: "Split" bottom: "conv1" top: "conv1p" }
layer { name: "fc2p" type: "InnerProduct" bottom: "pool1" top: "fc2p" }
layer { name: "sum" type: "Eltwise" bottom: "fc2p" bottom: "conv1p" top: "sum" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "sum" bottom: "label" top: "loss" }
"""
    cut = Cut(
        ["pool1", "conv1"], ["label"], {"fc2": "fc2p"}, {"fc2": "fc2p", "conv1": "conv1p"}
    )  # fmt: skip
    assert summary(merged(net1, net2, cut))[3:] == [
        "pool1: conv1 > pool1",
        "fc2: pool1 > fc2",
        "sum: fc2 conv1 > sum",
        "loss: sum label > loss",
    ]


def test_net1_may_have_no_copy_of_the_dual_layers(merged):
    assert summary(merged(DATA, NET2))[3:5] == ["fc2: conv1 > fc2", "relu2: fc2 > relu2"]


def test_a_silence_of_the_single_net_stays(merged):
    extra = 'layer { name: "data2" type: "DummyData" top: "extra" }'
    net1 = extra + NET1.replace('bottom: "unused" ', 'bottom: "unused" bottom: "extra" ')
    assert "silence: extra > " in summary(merged(net1, NET2))


def test_losses_on_net1s_side_stay(merged):
    side = 'layer { name: "side" type: "SoftmaxWithLoss" bottom: "conv1" bottom: "label" top: "s" }'
    assert "side: conv1 label > s" in summary(merged(NET1 + side, NET2))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"relu2"', '"conv1"', "blob conv1|layer conv1"),
        ('name: "relu2"', 'name: "relu1"', r"layer relu1 is in .*net1\.prototxt, too"),
        ('top: "relu2"', 'top: "data"', r"blob data is in .*net1\.prototxt, too, and does not"),
        ('top: "relu2"', 'top: "fc2"', "fc2p is fc2 in the single net, but there is another"),
    ],
)
def test_names_that_both_pieces_use_are_refused(merged, old, new, message):
    with pytest.raises(ConfigError, match=message):
        merged(NET1, NET2.replace(old, new))


def test_net1_must_make_what_crosses(merged):
    with pytest.raises(ConfigError, match=r"net1\.prototxt: no layer makes conv9"):
        merged(NET1, NET2, Cut(["conv9"], ["label"], {"fc2": "fc2p"}))


def model(path, **parameters):
    """A caffemodel whose layers have one parameter of one value each."""
    net = caffe_pb2.NetParameter()
    for name, value in parameters.items():
        net.layer.add(name=name).blobs.add(data=[value])
    path.write_bytes(net.SerializeToString())
    return str(path)


@pytest.mark.parametrize(("source", "expected"), [("lower", 2.0), ("upper", 3.0)])
def test_dual_layers_come_from_the_piece_asked_for(merged, tmp_path, source, expected):
    paths = [
        model(tmp_path / "1", conv1=1, fc2=2),
        model(tmp_path / "2", fc2p=3, relu2=4),
    ]
    parameters = merge_parameters([read_parameters(path) for path in paths], [CUT.dual], source)
    net = merge_models(merged(NET1, NET2), parameters)
    values = {layer.name: [blob.data[0] for blob in layer.blobs] for layer in net.layer}
    assert values == {
        "data": [], "conv1": [1.0], "relu1": [], "fc2": [expected], "relu2": [4.0], "loss": []
    }  # fmt: skip
    assert net.name == "whole"
    assert all(layer.phase == caffe_pb2.TRAIN for layer in net.layer)


def test_a_damaged_caffemodel_is_named(tmp_path):
    (tmp_path / "2").write_bytes(b"\xff not a caffemodel")
    with pytest.raises(ConfigError, match="2: not a caffemodel"):
        read_parameters(str(tmp_path / "2"))
    with pytest.raises(ConfigError, match="3: cannot read the caffemodel: No such file"):
        read_parameters(str(tmp_path / "3"))


def test_layers_without_weights_may_share_a_name(merged):
    net2 = NET2.replace('name: "relu2"', 'name: "relu1"')
    assert "relu1: fc2 > relu2" in summary(merged(NET1, net2, stored=["conv1", "fc2"]))
    with pytest.raises(ConfigError, match="layer relu1 is in"):
        merged(NET1, net2, stored=["relu1"])


def test_a_split_that_was_there_to_be_compared_goes(merged):
    # The output of one dual layer is compared and read by the next.
    net1 = NET1.replace('"fc2p"', '"fc2p_whole"')
    split = 'layer { name: "s" type: "Split" bottom: "fc2p" top: "fc2p_whole" }\n'
    net2 = NET2.replace('layer { name: "relu2"', split + 'layer { name: "relu2"')
    cut = Cut(["conv1"], ["label"], {"fc2": "fc2p"}, {"fc2": "fc2p_whole"})
    assert summary(merged(net1, net2, cut))[3:] == [
        "fc2: conv1 > fc2",
        "relu2: fc2 > relu2",
        "loss: relu2 label > loss",
    ]


def test_merged_nets_can_be_written_and_read(merged, tmp_path):
    net = merged(NET1, NET2)
    path = tmp_path / "whole.prototxt"
    path.write_text(text_format.MessageToString(net))
    assert read_net(str(path)) == net
