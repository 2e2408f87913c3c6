"""The programs of docs/howto/export.md do what it says."""

from __future__ import annotations

import importlib.util
import re

import numpy as np
import pytest

pytest.importorskip("torch")

from dualnet.backend import provider
from dualnet.data.sets.digits import read_digits
from dualnet.engine.export.texts import ONNX_PACKAGES
from dualnet.rundir import RunDir
from dualnet.training.checkpoint import caffe_files
from dualnet.training.outcome.export import export
from tests.training.pieces import load, make_nets


@pytest.mark.skipif(provider != "engine", reason="PyTorch traces the engine")
@pytest.mark.parametrize(
    ("title", "path"), [("PyTorch", "digits.pt2"), ("ONNX Runtime", "digits.onnx")]
)
def test_program(title, path, workdir, repository, capsys):
    if path.endswith(".onnx") and not all(map(importlib.util.find_spec, ONNX_PACKAGES)):
        pytest.skip("the extra dualnet[onnx] is not installed")
    page = (repository / "docs/howto/export.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page.partition(f"## {title}\n")[2], re.DOTALL)[:1]
    for role in ("net1", "net2"):
        caffe_files.save(make_nets(role, "run"), 4)
    export(RunDir("run"), load(), path, batches=1)
    _, test = read_digits()
    exec(code, {"images": np.asarray(test.images[:5], np.float32)})
    said = capsys.readouterr().out
    assert re.fullmatch(r"\[('\d'(, )?){5}\]\n", said)
