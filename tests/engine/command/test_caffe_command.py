"""The `caffe` command: flags, the four actions, signals, exit codes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from dualnet.engine.command import caffe_command
from dualnet.engine.command.caffe_flags import UsageError, parse_flags
from dualnet.engine.command.signals import SignalActions
from dualnet.engine.errors import SolverError
from dualnet.engine.net.net import Net
from dualnet.engine.solvers.solver_types import get_solver

NET = """
name: "small"
layer { name: "d" type: "DummyData" top: "x" top: "t" dummy_data_param {
  shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 } data_filler { value: 0.5 }
  data_filler { value: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y"
  inner_product_param { num_output: 2 weight_filler { value: 0.1 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
layer { name: "only" type: "ReLU" bottom: "y" top: "extra" include { stage: "more" } }
"""
SOLVER = """net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 4 momentum: 0.9
  solver_mode: CPU snapshot: 2 snapshot_prefix: "run" """


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Runs the command in a folder with a net and a solver; returns code and log texts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)

    def call(*arguments):
        code = caffe_command.main(arguments)
        lines = capfd.readouterr().err.splitlines()
        return code, [line.partition("] ")[2] for line in lines]

    return call


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--solver=s", "--stop-on-nan", "--gpu", "0"],
        ["-solver", "s", "-gpu=0", "train", "--stop_on_nan=true"],
        ["--nostop_on_nan", "--stop_on_nan", "--solver", "s", "--gpu=0", "--", "train"],
    ],
)
def test_flags_as_gflags_reads_them(arguments):
    flags, words = parse_flags(arguments)
    assert words == ["train"]
    assert (flags.solver, flags.gpu, flags.stop_on_nan, flags.iterations) == ("s", "0", True, 50)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--nonsense", "unknown command line flag '--nonsense'; the flags are: gpu, iterations"),
        ("--nosolver", "unknown command line flag '--nosolver'"),
        ("--solver", "flag '--solver' is missing its argument"),
        ("--iterations=x", "illegal value 'x' for int flag 'iterations'"),
        ("--stop_on_nan=x", "illegal value 'x' for bool flag 'stop_on_nan'"),
    ],
)
def test_wrong_flags(argument, message):
    with pytest.raises(UsageError, match=message):
        parse_flags([argument])


def test_train_then_test(run, tmp_path):
    code, lines = run("train", "--solver=solver.prototxt")
    assert code == 0
    assert lines[:2] == ["Use CPU.", "Starting Optimization"]
    assert lines[-2:] == ["Optimization Done.", "Optimization Done."]
    code, lines = run("test", "-model", "net.prototxt", "-weights=run_iter_4.caffemodel",
                      "-iterations", "2")  # fmt: skip
    net = Net("net.prototxt", 1, weights="run_iter_4.caffemodel")
    loss = float(net.forward()["loss"])
    assert code == 0 and lines == [
        "Use CPU.", "Running for 2 iterations.", f"Batch 0, loss = {loss:g}",
        f"Batch 1, loss = {loss:g}", f"Loss: {loss:g}", f"loss = {loss:g} (* 1 = {loss:g} loss)",
    ]  # fmt: skip


def test_resuming_ends_where_training_through_does(run, tmp_path):
    run("train", "--solver=solver.prototxt")
    through = (tmp_path / "run_iter_4.caffemodel").read_bytes()
    (tmp_path / "run_iter_4.caffemodel").unlink()
    code, lines = run("train", "--solver=solver.prototxt", "--snapshot=run_iter_2.solverstate")
    assert code == 0 and "Resuming from run_iter_2.solverstate" in lines
    assert (tmp_path / "run_iter_4.caffemodel").read_bytes() == through


def test_weights_and_stages_reach_the_solver(run, tmp_path):
    run("train", "--solver=solver.prototxt")
    code, lines = run("train", "--solver=solver.prototxt", "--stage=more",
                      "--weights=run_iter_2.caffemodel,run_iter_4.caffemodel")  # fmt: skip
    assert code == 0
    assert [line for line in lines if line.startswith("Finetuning")] == [
        "Finetuning from run_iter_2.caffemodel", "Finetuning from run_iter_4.caffemodel",
    ]  # fmt: skip
    assert b"extra" in (tmp_path / "run_iter_4.caffemodel").read_bytes()


def test_time(run):
    code, lines = run("time", "--model=net.prototxt", "--iterations=2", "--phase=TEST")
    texts = [re.sub(r"\d+(\.\d+)?(e-\d+)?", "#", line) for line in lines]
    layers = [f"{name:>10}\t{way}: # ms." for name in ("d", "ip", "loss")
              for way in ("forward", "backward")]  # fmt: skip
    assert code == 0 and texts == [
        "Use CPU.", "Performing Forward", "Initial loss: #", "Performing Backward",
        "*** Benchmark begins ***", "Testing for # iterations.",
        *["Iteration: # forward-backward time: # ms."] * 2, "Average time per layer: ", *layers,
        "Average Forward pass: # ms.", "Average Backward pass: # ms.",
        "Average Forward-Backward: # ms.", "Total Time: # ms.", "*** Benchmark ends ***",
    ]  # fmt: skip


def test_device_query(run):
    code, lines = run("device_query")
    assert code == 0 and lines[0] == "Querying GPUs "


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["foo"], 2, "Unknown action: foo; the actions are: device_query, test, time, train"),
        (["train"], 2, "Need a solver definition"),
        (["train", "--solver=s", "--snapshot=a", "--weights=b"], 2, "--snapshot=a --weights=b"),
        (["train", "--solver=none"], 1, "Could not open file 'none'"),
        (["train", "--solver=solver.prototxt", "--sigint_effect=x"], 1, 'signal effect "x"'),
        (["train", "--solver=solver.prototxt", "--gpu=0,1"], 1, "on one GPU, not on 2"),
        (["test", "--model=net.prototxt"], 2, "Need model weights"),
        (["time", "--model=net.prototxt", "--phase=toast"], 2, '"TRAIN" or "TEST", it is "toast"'),
        (["time", "--model=net.prototxt", "--iterations=0"], 2, "1 or more, it is 0"),
        (["time", "--model=net.prototxt", "--gpu=x"], 2, "numbers or 'all', not 'x'"),
    ],
)
def test_mistakes(run, arguments, code, message):
    found, lines = run(*arguments)
    assert found == code and message in lines[-1]


def test_help_and_version(run, capfd):
    assert caffe_command.main(["--version"]) == 0
    assert capfd.readouterr().out == "caffe version 1.0.0\n"
    assert caffe_command.main(["--help"]) == 0
    assert "--sighup_effect" in capfd.readouterr().out
    assert caffe_command.main([]) == 2
    assert "usage: caffe <command> <args>" in capfd.readouterr().err


def test_stop_on_nan(run, tmp_path):
    (tmp_path / "solver.prototxt").write_text(SOLVER.replace("0.1", "1e38"))
    code, lines = run("train", "--solver=solver.prototxt", "--stop-on-nan")
    assert code == 1
    assert re.search(r"the loss is (inf|nan) in iteration \d, at learning rate 1e\+38", lines[-1])
    assert run("train", "--solver=solver.prototxt")[0] == 0  # as Caffe does


def test_actions_of_a_solver(run, tmp_path):
    solver = get_solver("solver.prototxt")
    actions = iter(["none", "snapshot", "stop"])
    solver.set_action_function(lambda: next(actions))
    solver.param.snapshot = 0
    solver.solve()
    assert solver.iter == 3
    names = sorted(path.name for path in tmp_path.glob("run_iter_*.solverstate"))
    assert names == ["run_iter_2.solverstate", "run_iter_3.solverstate"]


def test_stop_while_testing(run, tmp_path, capfd):
    (tmp_path / "solver.prototxt").write_text(SOLVER + "test_iter: 5 test_interval: 1")
    solver = get_solver("solver.prototxt")
    actions = iter(["none", "none", "stop"])
    solver.set_action_function(lambda: next(actions, "none"))
    solver.solve()
    assert solver.iter == 0 and "Test interrupted." in capfd.readouterr().err


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP on this system")
def test_signals_become_actions():
    before = signal.getsignal(signal.SIGHUP)
    with SignalActions("stop", "snapshot") as actions:
        assert actions() == "none"
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGINT)
        assert [actions(), actions(), actions()] == ["snapshot", "stop", "none"]
    assert signal.getsignal(signal.SIGHUP) is before
    with pytest.raises(SolverError, match='"x" was specified; the effects are: stop, snapshot'):
        SignalActions("x")


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP on this system")
def test_a_signalled_process_saves_and_ends_well(run, tmp_path, repository):
    text = SOLVER.replace("max_iter: 4", "max_iter: 100000000").replace("snapshot: 2", "")
    (tmp_path / "solver.prototxt").write_text(text)
    with subprocess.Popen(
        [sys.executable, "-m", "dualnet.engine.command.caffe_command", "train",
         "-solver=solver.prototxt"],
        stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1",
             "GLOG_minloglevel": "0"},
    ) as process:  # fmt: skip
        assert process.stderr is not None
        # A signal that goes astray must fail this test, not hang the suite.
        watchdog = threading.Timer(120, process.kill)
        watchdog.start()
        seen, interrupted = [], False
        for line in process.stderr:
            seen.append(line)
            if "Learning Rate Policy" in line:
                process.send_signal(signal.SIGHUP)
            elif "solver state" in line and not interrupted:
                interrupted = True
                process.send_signal(signal.SIGINT)
        assert process.wait() == 0, "".join(seen)
        watchdog.cancel()
    assert "Optimization stopped early." in "".join(seen)
    weights = sorted(tmp_path.glob("run_iter_*.caffemodel"))
    assert len(weights) == 2
    for path in weights:
        assert np.isfinite(Net("net.prototxt", 1, weights=path).params["ip"][0].data).all()
