"""Without PyTorch and without BVLC Caffe: what works, and what is said of the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from dualnet import backend
from dualnet.cli.provider import missing_torch

#: Put before every import: neither provider is there.
BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "caffe"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
"""

SINGLE = "prototxt/digits/single_train_test.prototxt"
NEEDS = [
    ["train", "configs/digits.yaml"],
    ["single", "configs/digits.yaml"],
    ["net2", "configs/digits.yaml", "--run-dir", "r"],
    ["init", "configs/digits.yaml", "net1", "-o", "weights"],
    ["evaluate", "trained"],
    ["digest", "trained"],
    ["merge", "trained", "-o", "merged.caffemodel"],
    ["split", SINGLE, "--at", "pool2", "--dual", "conv3", "-o", "nets"],
    ["plan", SINGLE],
    ["draw", "configs/digits.yaml", "-o", "nets.dot"],
    ["caffe", "train", "--solver=prototxt/digits/single_solver.prototxt"],
    ["bench", "engine", "--net", "cifar10", "--repeats", "1", "--seconds", "0.01"],
]


@pytest.fixture
def bare(dualnet, workdir, tmp_path_factory):
    """Runs the command where no provider can be imported, on a run that was trained before."""
    done = dualnet("train", "configs/digits.yaml", "--run-dir", "trained", "--set",
                   "train.max_iter=4")  # fmt: skip
    assert done.returncode == 0, done.stderr
    folder = tmp_path_factory.mktemp("blocker")
    (folder / "sitecustomize.py").write_text(BLOCKER, encoding="utf-8")
    path = os.pathsep.join([str(folder), os.environ["PYTHONPATH"]])
    environment = {**os.environ, "PYTHONPATH": path}
    environment.pop("DUALNET_CAFFE", None)

    def run(*words):
        return subprocess.run(
            [sys.executable, "-m", "dualnet", *words], cwd=workdir, env=environment, text=True,
            capture_output=True, timeout=120,
        )  # fmt: skip

    return run


def test_commands_that_need_a_provider_name_the_remedy_in_one_line(bare, workdir):
    before = sorted(workdir.iterdir())
    for words in NEEDS:
        done = bare(*words)
        assert done.returncode == 2, (words, done.stderr)
        (line,) = done.stderr.splitlines()
        assert line.startswith("dualnet: ") and 'pip install "dualnet[engine]"' in line, words
        assert done.stdout == "", words
    assert sorted(workdir.iterdir()) == before


#: BVLC Caffe's interpreter has protobuf 3.12, on which only Caffe's own message classes load.
needs_own_messages = pytest.mark.skipif(
    backend.provider != "engine", reason="without BVLC Caffe its protobuf has no message classes"
)


@needs_own_messages
def test_commands_that_need_none_work(bare, workdir):
    pytest.importorskip("sklearn")
    for words in (
        ["--version"], ["--help"], ["train", "--help"], ["new", "--list"], ["new", "my-net"],
        ["data", "digits", "-o", "again"], ["runs", "."], ["status", "trained"],
        ["plot", "trained", "-o", "losses.png"], ["experiment", "list"],
        ["bench", "exchange", "--sizes", "1", "--rounds", "1", "--seconds", "0.01"],
    ):  # fmt: skip
        done = bare(*words)
        assert done.returncode == 0, (words, done.stderr)
    assert (workdir / "losses.png").is_file()
    done = bare("doctor")
    assert "!!  no Caffe found" in done.stdout and 'pip install "dualnet[engine]"' in done.stdout


@needs_own_messages
def test_data_made_without_a_provider_are_the_same(bare, dualnet, workdir):
    pytest.importorskip("sklearn")
    made = [json.loads(run("data", "digits", "-o", name).stdout)
            for run, name in ((bare, "without"), (dualnet, "with"))]  # fmt: skip
    assert made[0]["sha256"] == made[1]["sha256"]
    for name in ("train_lmdb/data.mdb", "test_lmdb/data.mdb", "mean.binaryproto"):
        assert (workdir / "without" / name).read_bytes() == (workdir / "with" / name).read_bytes()


@pytest.mark.parametrize(
    ("error", "is_told"),
    [
        (ModuleNotFoundError("No module named 'torch'", name="torch"), True),
        (ModuleNotFoundError("No module named 'torch.x'", name="torch.x"), True),
        (ModuleNotFoundError("No module named 'torchvision'", name="torchvision"), False),
        (ModuleNotFoundError("?"), False),
        (ImportError("libcudnn.so", name="torch"), False),
    ],
)
def test_what_is_taken_for_a_missing_torch(error, is_told):
    assert bool(missing_torch(error)) == is_told
