"""`dualnet export` as its users start it."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")

from dualnet import cli
from dualnet.backend import provider
from dualnet.training.checkpoint import caffe_files
from tests.training.pieces import load, make_nets

pytestmark = pytest.mark.skipif(provider != "engine", reason="PyTorch traces the engine")


@pytest.fixture
def here(workdir, monkeypatch):
    """A run of two pieces, and the command in this process."""
    for name in ("_handle_stops", "_handle_interrupts", "_name_crashes"):  # pytest's stay
        monkeypatch.setattr(cli, name, lambda *handlers: None)
    for role in ("net1", "net2"):
        caffe_files.save(make_nets(role, "run"), 4)
    (workdir / "run/config.yaml").write_text(load().to_yaml())
    return workdir


def test_export_and_describe(here, dualnet):
    done = dualnet("export", "run", "-o", "m.pt2", env={"DUALNET_CAFFE": "auto"})
    assert done.returncode == 0, done.stderr
    assert "wrote m.pt2: the largest difference from the engine's scores is " in done.stderr
    assert done.stderr.endswith(" on 180 test samples\n")
    said = dualnet("export", "--describe", "m.pt2")
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["inputs"]["data"]["shape"] == ["batch", 1, 8, 8]


def test_a_run_of_bvlc_caffes_is_exported_on_the_engine(here, capsys):
    text = load().to_yaml()
    (here / "run/config.yaml").write_text(text.replace("caffe: auto", "caffe: bvlc"))
    assert "caffe: bvlc" in (here / "run/config.yaml").read_text()
    assert cli.main(["export", "run", "-o", "m.pt2", "--shape", "data=1,8,8"]) == 0
    assert "random samples" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run"], "needs RUN_DIR and -o FILE, or --describe FILE"),
        (["-o", "m.pt2"], "needs RUN_DIR and -o FILE, or --describe FILE"),
        (["run", "--describe", "m.pt2"], "--describe FILE stands alone"),
        (["run", "-o", "m.pt2", "--shape", "data"], "--shape data: expected BLOB=C,H,W"),
        (["--describe", "run/config.yaml"], "the file's name must end in .pt2 or .onnx"),
        (["--describe", "none.pt2"], "none.pt2: cannot be read: No such file"),
    ],
)
def test_mistakes_are_one_line(here, capsys, words, said):
    code = cli.main(["export", *words])
    lines = capsys.readouterr().err.splitlines()
    assert code in (2, 74) and len(lines) == 1 and said in lines[0]


def test_without_pytorch(here, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli.main(["export", "run", "-o", "m.pt2"]) == 2
    assert "needs PyTorch, which is not installed here: run pip install" in capsys.readouterr().err
