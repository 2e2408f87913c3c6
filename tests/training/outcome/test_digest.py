"""The digest sees every bit of weights and history, and nothing else."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from dualnet.backend import caffe_pb2
from dualnet.errors import UsageError
from dualnet.rundir import RunDir
from dualnet.training.outcome.digest import digest


def write(folder, name, iteration=3, net=None, state=None):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}_solver.prototxt").write_text("")
    path = folder / f"{name}_iter_{iteration}"
    path.with_suffix(".caffemodel").write_bytes((net or make_net()).SerializeToString())
    path.with_suffix(".solverstate").write_bytes((state or make_state()).SerializeToString())
    return str(folder)


def blob(shape=(2, 3), seed=0):
    values = np.random.RandomState(seed).randn(*shape).astype(np.float32)
    return caffe_pb2.BlobProto(shape={"dim": list(shape)}, data=values.ravel().tolist())


def make_net():
    net = caffe_pb2.NetParameter(name="net")
    net.layer.add(name="conv1", type="Convolution", blobs=[blob(seed=1), blob((2,), 2)])
    net.layer.add(name="relu1", type="ReLU")
    net.layer.add(name="ip1", type="InnerProduct", blobs=[blob((4, 2), 3)])
    return net


def make_state():
    return caffe_pb2.SolverState(
        iter=3, learned_net="somewhere.caffemodel", current_step=1,
        history=[blob(seed=4), blob((2,), 5), blob((4, 2), 6)],
    )  # fmt: skip


def next_float(value):
    """The float32 that differs from `value` in its last bit."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    return struct.unpack("<f", struct.pack("<I", bits ^ 1))[0]


@pytest.fixture
def reference(tmp_path):
    return digest(RunDir(write(tmp_path / "reference", "single")))


def test_equal_training_gives_an_equal_digest(tmp_path, reference):
    assert digest(RunDir(write(tmp_path / "elsewhere", "single"))) == reference
    assert len(reference) == 64 and int(reference, 16)


@pytest.mark.parametrize(("layer", "index", "position"), [(0, 0, 0), (0, 1, 1), (2, 0, 7)])
def test_one_bit_of_a_weight_counts(tmp_path, reference, layer, index, position):
    net = make_net()
    data = net.layer[layer].blobs[index].data
    data[position] = next_float(data[position])
    assert digest(RunDir(write(tmp_path / "other", "single", net=net))) != reference


@pytest.mark.parametrize(("index", "position"), [(0, 5), (2, 0)])
def test_one_bit_of_the_history_counts(tmp_path, reference, index, position):
    state = make_state()
    data = state.history[index].data
    data[position] = next_float(data[position])
    assert digest(RunDir(write(tmp_path / "other", "single", state=state))) != reference


def test_sign_of_zero_counts(tmp_path):
    digests = []
    for zero in (0.0, -0.0):
        net = make_net()
        net.layer[0].blobs[0].data[0] = zero
        digests.append(digest(RunDir(write(tmp_path / f"zero{zero}", "single", net=net))))
    assert digests[0] != digests[1]


def test_names_shapes_and_the_iteration_count(tmp_path, reference):
    renamed, reshaped = make_net(), make_net()
    renamed.layer[0].name = "conv2"
    reshaped.layer[0].blobs[0].shape.dim[:] = [3, 2]
    for name, net in (("renamed", renamed), ("reshaped", reshaped)):
        assert digest(RunDir(write(tmp_path / name, "single", net=net))) != reference
    assert digest(RunDir(write(tmp_path / "later", "single", iteration=4))) != reference


def test_values_that_move_between_blobs_count(tmp_path, reference):
    state = make_state()
    state.history.append(blob((2,), 5))
    assert digest(RunDir(write(tmp_path / "more", "single", state=state))) != reference


def test_paths_and_what_is_no_weight_do_not_count(tmp_path, reference):
    net, state = make_net(), make_state()
    net.name = "other"
    net.layer[0].bottom.append("data")
    net.layer[0].blobs[0].diff.extend([1.0] * 6)
    state.learned_net = "/other/path.caffemodel"
    folder = write(tmp_path / "x", "single", net=net, state=state)
    assert digest(RunDir(folder)) == reference


def test_both_pieces_count(tmp_path):
    write(tmp_path / "run", "net1")
    folder = write(tmp_path / "run", "net2")
    both = digest(RunDir(folder))
    net = make_net()
    net.layer[2].blobs[0].data[0] += 1
    write(tmp_path / "run", "net2", net=net)
    changed = digest(RunDir(folder))
    assert changed != both
    write(tmp_path / "run", "net2")
    write(tmp_path / "run", "net1", net=net)
    assert digest(RunDir(folder)) not in (both, changed)


def test_an_earlier_snapshot_can_be_asked_for(tmp_path):
    folder = write(tmp_path / "run", "single", iteration=3)
    earlier = digest(RunDir(folder))
    write(tmp_path / "run", "single", iteration=6)
    assert digest(RunDir(folder)) != earlier
    assert digest(RunDir(folder), 3) == earlier
    with pytest.raises(UsageError, match="no snapshot of iteration 4"):
        digest(RunDir(folder), 4)
