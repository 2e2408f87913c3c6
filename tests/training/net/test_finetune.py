"""Weights to start from: what the log says of them, what they reach, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.backend import caffe_pb2
from dualnet.errors import ConfigError
from dualnet.rundir import RunDir
from dualnet.training.net.initial import save_initial_weights
from tests.training.pieces import load, make_nets, weights_of
from tests.training.starting import train_single


def finetune(piece, *files, overrides=()):
    """A piece started from files, and what was said and warned of."""
    nets = make_nets(piece, "run", f"train.weights=[{', '.join(files)}]", *overrides)
    said, warned = [], []
    nets.copy_weights(said.append, warned.append)
    return nets, said, warned


@pytest.fixture
def single(workdir):
    """`single.caffemodel` of another seed; gives the weights in it."""
    nets = make_nets("single", "one", "seed=5")
    nets.train.net.save("single.caffemodel")
    return weights_of(nets)


def rewrite(source, target, change):
    """A caffemodel with something changed in it."""
    net = caffe_pb2.NetParameter()
    with open(source, "rb") as file:
        net.ParseFromString(file.read())
    change(net)
    with open(target, "wb") as file:
        file.write(net.SerializeToString())


def rename(net, **names):
    for layer in net.layer:
        layer.name = names.get(layer.name, layer.name)


def test_weights_reach_the_layers_of_their_name_and_their_duals(single):
    for piece in ("single", "net1", "net2"):
        nets, _, warned = finetune(piece, "single.caffemodel")
        found = weights_of(nets)
        for name, values in found.items():
            source = single[name.replace("conv3p", "conv3")]
            np.testing.assert_array_equal(values, source, f"{piece}: {name}")
        assert not warned


def test_a_file_for_the_dual_layers_alone_is_not_said_to_give_nothing(single, capfd):
    def keep_conv3(net):
        (conv3,) = [layer for layer in net.layer if layer.name == "conv3"]
        kept = type(conv3).FromString(conv3.SerializeToString())
        del net.layer[:]
        net.layer.append(kept)

    rewrite("single.caffemodel", "conv3.caffemodel", keep_conv3)
    nets, said, _ = finetune("net2", "conv3.caffemodel")
    assert said[-1] == "Copying source layer conv3 to its dual conv3p, from conv3.caffemodel"
    np.testing.assert_array_equal(weights_of(nets)["conv3p.0"], single["conv3.0"])
    assert "gave no weights" not in capfd.readouterr().err


def test_the_log_says_what_caffe_says_and_counts(single):
    rewrite(
        "single.caffemodel", "old.caffemodel", lambda net: rename(net, conv2="old2", pool1="oldp")
    )
    _, said, warned = finetune("net1", "old.caffemodel")
    assert said[0] == "Finetuning from old.caffemodel"
    ignored = [line for line in said if line.startswith("Ignoring source layer ")]
    assert "Ignoring source layer old2" in ignored and "Ignoring source layer oldp" in ignored
    # What belongs to the other piece is not called ignored.
    for name in ("conv1", "conv3", "conv4", "ip1", "ip2", "accuracy", "relu4"):
        assert f"Ignoring source layer {name}" not in ignored
    assert said[-1] == (
        "old.caffemodel: weights for 2 of net1's 3 layers with weights (conv1, conv3); 3 layers "
        "left to net2 (conv4, ip1, ip2); 1 layer ignored, which no piece has (old2)"
    )
    assert warned == [
        "1 layer of net1 got weights from no file and begins with the prototxt's fillers: conv2"
    ]
    _, said, warned = finetune("net2", "old.caffemodel")
    assert said[-2].startswith(
        "old.caffemodel: weights for 3 of net2's 4 layers with weights (conv4, ip1, ip2); 2 layers "
        "left to net1 (conv1, conv3)"
    )
    assert said[-1] == "Copying source layer conv3 to its dual conv3p, from old.caffemodel"
    assert not warned


@pytest.mark.parametrize("kind", ["train_net", "missing"])
def test_the_other_piece_may_name_its_nets_otherwise_or_not_be_at_hand(single, workdir, kind):
    text = (workdir / "prototxt/digits/net2_solver.prototxt").read_text()
    net = "prototxt/digits/net2_train_test.prototxt"
    assert f'net: "{net}"' in text
    other = f'train_net: "{net}" test_net: "{net}"' if kind == "train_net" else 'net: "none"'
    (workdir / "solver2.prototxt").write_text(text.replace(f'net: "{net}"', other))
    _, said, _ = finetune("net1", "single.caffemodel", overrides=["net2.solver=solver2.prototxt"])
    assert ("Ignoring source layer conv4" in said) == (kind == "missing")
    assert ("3 layers left to net2" in said[-1]) == (kind == "train_net")


def test_the_single_net_ignores_what_it_does_not_have(single):
    rewrite("single.caffemodel", "old.caffemodel", lambda net: rename(net, conv2="old2"))
    _, said, warned = finetune("single", "old.caffemodel")
    assert said[-1].endswith("; 1 layer ignored, which single does not have (old2)")
    assert len(warned) == 1


@pytest.mark.parametrize("piece", ["single", "net1", "net2"])
def test_a_file_of_which_nothing_fits_is_an_error(single, piece):
    def change(net):
        for layer in net.layer:
            layer.name += "_alike"

    rewrite("single.caffemodel", "other.caffemodel", change)
    nets = make_nets(piece, "run", "train.weights=[other.caffemodel]")
    with pytest.raises(ConfigError) as caught:
        nets.copy_weights()
    message = str(caught.value)
    assert "\n" not in message
    assert "other.caffemodel" in message and "conv1_alike" in message
    assert {"single": "conv1, conv2, conv3", "net1": "conv1", "net2": "conv3p"}[piece] in message
    assert "rename" in message


def test_a_file_for_the_other_piece_alone_is_fine(single):
    """As the two files that `dualnet init` writes, both given to both pieces."""

    def change(net):
        for layer in net.layer:
            if layer.name in ("conv1", "conv2", "conv3"):
                layer.name += "_alike"

    rewrite("single.caffemodel", "upper.caffemodel", change)
    nets, said, warned = finetune("net1", "upper.caffemodel")
    assert "weights for 0 of net1's 3 layers with weights; 3 layers left to net2" in said[-1]
    assert len(warned) == 1 and "3 layers of net1 got weights from no file" in warned[0]


def test_a_file_without_weights_is_an_error(single):
    def change(net):
        for layer in net.layer:
            del layer.blobs[:]

    rewrite("single.caffemodel", "bare.caffemodel", change)
    with pytest.raises(
        ConfigError, match=r"bare.caffemodel: none of its layers \(.*\) has weights"
    ):
        finetune("net1", "bare.caffemodel")


@pytest.mark.parametrize(
    ("layer", "piece"), [("conv1", "single"), ("conv3", "net1"), ("conv3", "net2"), ("ip2", "net2")]
)
def test_another_shape_names_layer_and_both_shapes(single, layer, piece):
    def change(net):
        found = next(entry for entry in net.layer if entry.name == layer)
        found.blobs[0].shape.dim[:] = list(reversed(found.blobs[0].shape.dim))

    rewrite("single.caffemodel", "other.caffemodel", change)
    shape = single[f"{layer}.0"].shape
    here, there = (" x ".join(map(str, dims)) for dims in (shape, shape[::-1]))
    with pytest.raises(ConfigError) as caught:
        finetune(piece, "other.caffemodel")
    message = str(caught.value)
    assert f"layer {layer}: parameter 0 is {there} there and {here} in {piece}" in message
    assert "rename the layer" in message and "\n" not in message


@pytest.mark.parametrize(("layer", "count"), [("conv1", 1), ("conv1", 0), ("relu1", 1)])
def test_another_number_of_parameters(single, layer, count):
    def change(net):
        found = next(entry for entry in net.layer if entry.name == layer)
        del found.blobs[count:]
        if not found.blobs and count:
            found.blobs.add(data=[1]).shape.dim.append(1)

    rewrite("single.caffemodel", "other.caffemodel", change)
    words = (
        f"layer {layer} has {count} parameters? there and {2 if layer == 'conv1' else 0} in net1"
    )
    with pytest.raises(ConfigError, match=words):
        finetune("net1", "other.caffemodel")


def test_of_several_files_the_last_counts_and_duals_prefer_their_own(workdir):
    config = load("seed=5")
    save_initial_weights(config, ["net1", "net2"], "start")
    own = weights_of(make_nets("net2", "two", "seed=5"))
    for order in (("net1", "net2"), ("net2", "net1")):
        nets, said, warned = finetune("net2", *(f"start/{name}.caffemodel" for name in order))
        for name, values in weights_of(nets).items():
            np.testing.assert_array_equal(values, own[name], name)
        assert not warned and not [line for line in said if "to its dual" in line]


def test_two_stored_layers_of_one_name_are_warned_of(single):
    def change(net):
        net.layer.add().CopyFrom(next(entry for entry in net.layer if entry.name == "conv1"))
        net.layer[-1].blobs[0].data[:] = [0.5] * len(net.layer[-1].blobs[0].data)

    rewrite("single.caffemodel", "twice.caffemodel", change)
    nets, _, warned = finetune("net1", "twice.caffemodel")
    assert (weights_of(nets)["conv1.0"] == 0.5).all()
    assert warned == [
        "twice.caffemodel: 2 layers with weights are called conv1; the last one's are taken"
    ]


def test_layers_of_2013(single):
    """Caffe upgrades them when it reads; blobs have four numbers for a shape."""
    old = caffe_pb2.NetParameter(name="old")
    for name, kind, shapes in (
        ("conv1", caffe_pb2.V1LayerParameter.CONVOLUTION, [(16, 1, 3, 3), (1, 1, 1, 16)]),
        ("ip2", caffe_pb2.V1LayerParameter.INNER_PRODUCT, [(1, 1, 10, 32), (1, 1, 1, 10)]),
    ):
        layer = old.layers.add(name=name, type=kind)
        for number, dims in enumerate(shapes):
            blob = layer.blobs.add(data=np.full(np.prod(dims), number + 2.0).tolist())
            blob.num, blob.channels, blob.height, blob.width = dims
    with open("old.caffemodel", "wb") as file:
        file.write(old.SerializeToString())
    nets, said, _ = finetune("single", "old.caffemodel")
    assert "weights for 2 of single's 6 layers with weights (conv1, ip2)" in said[-1]
    found = weights_of(nets)
    for name in ("conv1", "ip2"):
        assert (found[f"{name}.0"] == 2).all() and (found[f"{name}.1"] == 3).all()


def test_hdf5(single):
    nets = make_nets("single", "one", "seed=5")
    nets.train.net.save_hdf5("single.caffemodel.h5")
    for piece in ("single", "net1", "net2"):
        nets, said, warned = finetune(piece, "single.caffemodel.h5")
        for name, values in weights_of(nets).items():
            np.testing.assert_array_equal(values, single[name.replace("conv3p", "conv3")], name)
        assert "Finetuning from single.caffemodel.h5" in said and not warned
    h5py = pytest.importorskip("h5py")
    with h5py.File("single.caffemodel.h5", "r+") as stream:
        stream["data"].move("conv1/1", "conv1/2")
    with pytest.raises(ConfigError, match="h5: layer conv1 has 2 parameters .numbers 0, 2. there"):
        finetune("net1", "single.caffemodel.h5")
    with h5py.File("single.caffemodel.h5", "r+") as stream:
        del stream["data/conv1/2"]
    with pytest.raises(ConfigError, match="h5: layer conv1 has 1 parameter there and 2 in net1"):
        finetune("net1", "single.caffemodel.h5")


def test_the_solvers_own_weights_are_said_too(single, workdir):
    text = (workdir / "prototxt/digits/single_solver.prototxt").read_text()
    (workdir / "solver.prototxt").write_text(text + '\nweights: "single.caffemodel"\n')
    nets = make_nets("single", "run", "single.solver=solver.prototxt")
    said = []
    nets.copy_weights(said.append)
    assert said[0] == "Finetuning from single.caffemodel"
    np.testing.assert_array_equal(weights_of(nets)["conv1.0"], single["conv1.0"])
    (workdir / "solver.prototxt").write_text(text + '\nweights: "single.caffemodel,none"\n')
    with pytest.raises(ConfigError, match="solver.prototxt: weights: none: no such file"):
        make_nets("single", "run", "single.solver=solver.prototxt")


def test_init_begins_with_the_weights_that_a_training_would(single):
    said = []
    config = load("train.weights=[single.caffemodel]")
    save_initial_weights(config, ["net2"], "start", said.append)
    found = weights_of(finetune("net2", "start/net2.caffemodel")[0])
    np.testing.assert_array_equal(found["ip2.0"], single["ip2.0"])
    np.testing.assert_array_equal(found["conv3p.0"], single["conv3.0"])
    assert said[0] == "Finetuning from single.caffemodel"


def test_the_log_of_a_run_and_of_its_continuation(single):
    config = load("train.weights=[single.caffemodel]", "train.snapshot=2", "train.max_iter=4")

    def stop(session):
        def look(done):
            if done == 3:
                raise KeyError

        session.on_progress = look

    with pytest.raises(KeyError):
        train_single(config, RunDir("run"), progress=stop)
    with open("run/single.log") as file:
        first = file.read()
    assert first.count("Finetuning from single.caffemodel") == 1
    assert "single.caffemodel: weights for 6 of single's 6 layers with weights" in first
    train_single(config, RunDir("run"))
    with open("run/single.log") as file:
        second = file.read()[len(first) :]
    assert "Finetuning" not in second and "files of weights are left alone" in second
