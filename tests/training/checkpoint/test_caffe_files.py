"""Snapshots: whole or absent, in Caffe's formats, and training continues from them to the bit."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dualnet.backend import caffe, caffe_pb2
from dualnet.errors import UsageError
from dualnet.rundir import RunDir
from dualnet.training.checkpoint import caffe_files
from dualnet.training.loop.piece import PieceLoop
from dualnet.training.net.nets import Nets
from dualnet.training.net.resolve import write
from tests.exchange.fakes import FaultyFs
from tests.training.pieces import make_nets, make_session, weights_of


def train(run_dir, *overrides, start=0):
    """The single net trained to max_iter, from the snapshot of iteration `start` if given."""
    nets = make_nets("single", run_dir, *overrides)
    session = make_session(nets)
    if start:
        session.restore(start)
    PieceLoop(nets, session).run()
    session.log.close()
    return nets


def state_of(path):
    with open(path, "rb") as file:
        return caffe_pb2.SolverState.FromString(file.read())


def model_of(path):
    with open(path, "rb") as file:
        net = caffe_pb2.NetParameter.FromString(file.read())
    return {f"{layer.name}.{i}": np.array(blob.data, np.float32).reshape(blob.shape.dim)
            for layer in net.layer for i, blob in enumerate(layer.blobs)}  # fmt: skip


def touch(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")


# Saving.


@pytest.mark.parametrize("rule", ["solver", "manual"])
def test_snapshots_are_caffes_and_numbered_by_updates(workdir, rule):
    nets = train("run", "train.max_iter=3", "train.snapshot=2", f"update.rule={rule}")
    kept = sorted(name for name in os.listdir("run") if "_iter_" in name)
    assert kept == [f"single_iter_{i}.{kind}" for i in (2, 3)
                    for kind in ("caffemodel", "checkpoint.json", "solverstate")]  # fmt: skip
    assert not [name for name in os.listdir("run") if "tmp" in name]
    for name, values in model_of("run/single_iter_3.caffemodel").items():
        np.testing.assert_array_equal(values, weights_of(nets)[name])
    state = state_of("run/single_iter_3.solverstate")
    assert state.iter == 3
    assert state.learned_net == "run/single_iter_3.caffemodel"
    assert len(state.history) == 12
    assert any(any(blob.data) for blob in state.history) == (rule == "solver")


@pytest.mark.parametrize("failing", ["write_atomically", "replace"])
def test_snapshot_that_fails_is_no_snapshot(workdir, monkeypatch, failing):
    def fail(*arguments):
        raise OSError("disk full")

    nets = make_nets("single", "run")
    monkeypatch.setattr(caffe_files, failing, fail)
    with pytest.raises(OSError, match="disk full"):
        caffe_files.save(nets, 0)
    with pytest.raises(UsageError, match="no snapshot"):
        caffe_files.find(RunDir("run"))


def test_saving_again_replaces(workdir):
    nets = make_nets("single", "run")
    caffe_files.save(nets, 5)
    nets.train.set_parameters({"conv1.0": np.ones((16, 1, 3, 3))})
    caffe_files.save(nets, 5)
    assert (model_of("run/single_iter_5.caffemodel")["conv1.0"] == 1).all()


# Continuing.


@pytest.mark.parametrize("rule", ["solver", "manual"])
def test_restored_training_equals_uninterrupted(workdir, rule):
    settings = ["train.max_iter=5", "train.snapshot=2", "train.keep=0", f"update.rule={rule}",
                "update.learning_rate=0.1"]  # fmt: skip
    whole = train("whole", *settings)
    shutil.copytree("whole", "parts")
    for name in ("caffemodel", "solverstate"):
        for iteration in (4, 5):
            os.unlink(f"parts/single_iter_{iteration}.{name}")
    parts = train("parts", *settings, start=2)
    for name, values in weights_of(whole).items():
        np.testing.assert_array_equal(weights_of(parts)[name], values, name)
    states = [state_of(f"{run}/single_iter_5.solverstate") for run in ("whole", "parts")]
    assert states[0].iter == states[1].iter == 5
    for one, two in zip(states[0].history, states[1].history):
        assert list(one.data) == list(two.data)


def test_run_that_was_moved_can_be_restored(workdir):
    nets = train("there", "train.max_iter=2")
    os.rename("there", "here")
    moved = make_nets("single", "here")
    caffe_files.restore(moved, 2)
    for name, values in weights_of(nets).items():
        np.testing.assert_array_equal(weights_of(moved)[name], values, name)
    assert moved.solver.iter == 2
    assert not [name for name in os.listdir("here") if "tmp" in name]


@pytest.mark.parametrize("piece", ["single", "net1"])
def test_data_continue_where_they_stood(workdir, piece):
    # In net1 the first layer is an Input, which has nothing to skip; its Data layer is next.
    nets = make_nets(piece, "run")
    images = []
    for _ in range(4):
        nets.train.forward("data", "data")
        images.append(nets.train.data("data").copy())
    assert not np.array_equal(images[2], images[3])
    caffe_files.save(nets, 3)
    again = make_nets(piece, "run")
    caffe_files.restore(again, 3)
    again.train.forward("data", "data")
    np.testing.assert_array_equal(again.train.data("data"), images[3])


def test_net2_which_is_fed_can_be_restored(workdir):
    nets = make_nets("net2", "run")
    caffe_files.save(nets, 3)
    again = make_nets("net2", "run", "seed=7")
    caffe_files.restore(again, 3)
    for name, values in weights_of(nets).items():
        np.testing.assert_array_equal(weights_of(again)[name], values, name)


def test_caffe_itself_restores_the_snapshot(workdir):
    nets = train("run", "train.max_iter=3")
    solver = caffe.get_solver(nets.resolved.dir.solver)
    solver.restore("run/single_iter_3.solverstate")
    assert solver.iter == 3
    for name, values in weights_of(nets).items():
        layer, index = name.split(".")
        np.testing.assert_array_equal(solver.net.params[layer][int(index)].data, values)
    solver.step(1)
    assert solver.iter == 4
    net = caffe.Net(nets.resolved.dir.net, caffe.TEST, weights="run/single_iter_3.caffemodel")
    np.testing.assert_array_equal(net.params["ip2"][0].data, weights_of(nets)["ip2.0"])


@pytest.mark.parametrize("missing", ["caffemodel", "solverstate"])
def test_missing_snapshot_is_named(workdir, missing):
    nets = make_nets("single", "run")
    caffe_files.save(nets, 4)
    os.unlink(f"run/single_iter_4.{missing}")
    with pytest.raises(UsageError) as caught:
        caffe_files.restore(nets, 4)
    assert str(caught.value) == (
        f"run/single_iter_4.{missing}: missing; single cannot continue from iteration 4"
    )


# Finding.


def test_latest_snapshot_is_the_latest_that_both_pieces_have(tmp_path):
    run = tmp_path / "run [1]"  # brackets are patterns to glob
    touch(run, "net1_solver.prototxt", "net2_solver.prototxt")
    touch(run, *(f"net1_iter_{i}.caffemodel" for i in (5, 20, 100)))
    touch(run, *(f"net2_iter_{i}.caffemodel" for i in (5, 20, 30)))
    touch(run, "net1_iter_30.caffemodel.12-ab.tmp", "net1_iter_30.solverstate", "net2_iter_x.h5")
    pieces = [RunDir(str(run)).piece(piece) for piece in ("net1", "net2")]
    assert caffe_files.find(RunDir(str(run))) == (20, pieces)
    assert caffe_files.find(RunDir(str(run)), 5)[0] == 5
    with pytest.raises(UsageError) as caught:
        caffe_files.find(RunDir(str(run)), 100)
    message = str(caught.value)
    assert "no snapshot of iteration 100" in message
    assert "net1: [5, 20, 100]; net2: [5, 20, 30]" in message


def test_pieces_without_a_common_snapshot(tmp_path):
    touch(tmp_path, "net1_solver.prototxt", "net1_iter_5.caffemodel")
    with pytest.raises(UsageError, match=r"that every piece has.*net1: \[5\]; net2: none"):
        caffe_files.find(RunDir(str(tmp_path)))


def test_what_is_no_run(tmp_path):
    with pytest.raises(UsageError, match="no run here"):
        caffe_files.find(RunDir(str(tmp_path)))


# A disk that fails, and a start that was replaced.


class Failing(FaultyFs):
    """Fails one operation; room for a file may be what is missing."""

    OPERATIONS = (*FaultyFs.OPERATIONS, "allocate")

    def allocate(self, fd, nbytes):
        self._step("allocate")


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_each_operation_of_a_save_fails_once(workdir, error):
    nets = make_nets("single", "run")
    paths = caffe_files.save(nets, 3)
    whole = [Path(path).read_bytes() for path in paths]
    fs, covered = Failing(), 0
    while True:
        before = sorted(os.listdir("run"))
        fs.arm(covered, error)
        try:
            caffe_files.save(nets, 3, fs)
            failed = False
        except OSError as caught:
            failed = True
            assert caught.errno == error
        injected = fs.failed
        fs.disarm()
        if injected and not failed:
            # Only what is removed may fail without a word.
            assert fs.log[covered] == "unlink"
        assert sorted(os.listdir("run")) == before
        # What has a name is whole, whether it is the old one or the new one.
        assert [Path(path).read_bytes() for path in paths] == whole
        if not injected:
            break
        covered += 1
    assert covered >= 17


def test_engines_error_of_a_full_disk_is_one_of_the_disk(workdir, monkeypatch):
    nets = make_nets("single", "run")

    def full():
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise ValueError("the engine's own words") from error

    nets.solver = SimpleNamespace(snapshot=full, iter=0)
    monkeypatch.setattr("dualnet.backend.provider", "engine")
    with pytest.raises(OSError, match="No space left"):
        caffe_files.save(nets, 1)


def test_bvlc_caffe_is_not_asked_to_write_where_there_is_no_room(workdir, monkeypatch):
    nets = make_nets("single", "run")
    monkeypatch.setattr("dualnet.backend.provider", "bvlc")
    fs = Failing()
    fs.arm(0, errno.EDQUOT, only="allocate")
    called = []
    solver = nets.solver
    nets.solver = SimpleNamespace(snapshot=lambda: called.append(1), iter=0, net=solver.net)
    before = sorted(os.listdir("run"))
    with pytest.raises(OSError, match="quota"):
        caffe_files.save(nets, 1, fs)
    assert not called and sorted(os.listdir("run")) == before
    # A file system that cannot say is trusted.
    fs.arm(0, errno.EOPNOTSUPP, only="allocate")
    nets.solver = solver
    caffe_files.save(nets, 1, fs)


def test_a_start_that_was_replaced_writes_beside_its_successor(workdir):
    old, new = make_nets("net2", "run"), make_nets("net2", "run")
    for nets, epoch in ((old, 1), (new, 2)):
        caffe_files.set_apart(nets.resolved, epoch)
        write(nets.resolved)
    old, new = (Nets(nets.config, nets.resolved) for nets in (old, new))
    prefixes = {nets.resolved.solver.snapshot_prefix for nets in (old, new)}
    assert prefixes == {"run/.net2.tmp.e000001", "run/.net2.tmp.e000002"}
    # The old one is suspended within its snapshot; its successor starts, cleans up and goes on.
    stale = "run/.net2.tmp.e000001_iter_0.caffemodel"
    with open(stale, "wb") as file:
        file.write(b"half")
        caffe_files.clean(RunDir("run").piece("net2"))
        assert not os.path.exists(stale)
        caffe_files.save(new, 3)
        file.write(b"the rest")
    np.testing.assert_array_equal(
        model_of("run/net2_iter_3.caffemodel")["ip2.0"], weights_of(new)["ip2.0"]
    )


def test_pieces_that_share_no_iteration_are_told_what_to_do(tmp_path):
    touch(tmp_path, "net1_solver.prototxt", "net1_iter_5.caffemodel", "net2_iter_10.caffemodel")
    with pytest.raises(UsageError, match=r"net1: \[5\]; net2: \[10\]; let both train on until"):
        caffe_files.find(RunDir(str(tmp_path)))
