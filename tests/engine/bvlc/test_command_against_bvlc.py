"""The `caffe` command's log against BVLC Caffe's, line by line, `debug_info` included."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.bvlc

NET = """
name: "small"
layer { name: "d" type: "DummyData" top: "x" top: "t" dummy_data_param {
  shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 } data_filler { value: 0.5 }
  data_filler { value: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y"
  param { name: "w" } param { lr_mult: 0 }
  inner_product_param { num_output: 2 weight_filler { value: 0.125 } } }
layer { name: "relu" type: "ReLU" bottom: "y" top: "y" }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" loss_weight: 2 }
layer { name: "more" type: "ReLU" bottom: "y" top: "extra" include { stage: "more" } }
"""
SOLVER = """net: "net.prototxt" base_lr: 0.0625 lr_policy: "step" gamma: 0.5 stepsize: 2 max_iter: 5
  display: 2 average_loss: 2 test_iter: 2 test_interval: 2 momentum: 0.5 snapshot: 3
  snapshot_prefix: "run" solver_mode: CPU debug_info: true clip_gradients: 2 """
#: What BVLC says while it builds nets; the engine builds them silently.
BUILDING = re.compile(
    r"Initializing|Creating|Solver scaffolding|Setting up|Top shape|Memory required|->|<-|"
    r"needs? backward|does not need|This network|Network init|The NetState|with loss weight|"
    r"restoring history|Reading|\(in-place\)|Copying source|Restoring"
)
TIMES = re.compile(r"\([^()]+ iter/s, [^()]+ iters\)|[\d.e+-]+ ms")


@pytest.fixture(scope="module")
def commands(bvlc_python, repository):
    """The command that starts each provider's `caffe`."""
    tool = Path(bvlc_python).with_name("caffe")
    if not tool.exists():
        pytest.skip(f"no {tool}: the real Caffe was not installed by scripts/install_caffe.sh")
    ours = [sys.executable, "-m", "dualnet.engine.command.caffe_command"]
    return {"ours": ours, "theirs": [str(tool)]}, {
        **os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1",
    }  # fmt: skip


def log_of(commands, folder, provider, *arguments):
    """The log's texts without BVLC's building of nets, and without times."""
    place = folder / provider
    place.mkdir(exist_ok=True)
    (place / "net.prototxt").write_text(NET)
    (place / "solver.prototxt").write_text(SOLVER)
    done = subprocess.run(
        [*commands[0][provider], *arguments],
        cwd=place, env=commands[1], capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    lines = re.findall(r"^[IWE]\d{4} [\d:.]+ +\d+ [^ ]+\] (.*)$", done.stderr, re.M)
    return [TIMES.sub("#", line) for line in lines if not BUILDING.search(line)]


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--solver=solver.prototxt"),
        ("train", "-solver", "solver.prototxt", "-snapshot=run_iter_3.solverstate"),
        ("test", "--model=net.prototxt", "--weights=run_iter_5.caffemodel", "--iterations", "3"),
        ("time", "--model=net.prototxt", "--iterations=2", "--phase=TEST", "--stage=more"),
    ],
    ids=["train", "resume", "test", "time"],
)
def test_same_lines(commands, tmp_path_factory, arguments):
    folder = tmp_path_factory.getbasetemp() / "command"
    folder.mkdir(exist_ok=True)
    if not (folder / "theirs" / "run_iter_5.caffemodel").exists():
        for provider in ("ours", "theirs"):
            log_of(commands, folder, provider, "train", "--solver=solver.prototxt")
    ours, theirs = (log_of(commands, folder, name, *arguments) for name in ("ours", "theirs"))
    assert ours == theirs
