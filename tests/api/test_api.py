"""The Python interface: a chain cut, trained, scored, merged and read, without the command line."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import dualnet
from dualnet.errors import ConfigError, UsageError

NET = "prototxt/digits/single_train_test.prototxt"
SHORT = ("train.max_iter=4", "train.snapshot=2", "train.test_iter=2", "train.test_interval=4",
         "train.display=1")  # fmt: skip


def test_the_names_of_the_package():
    assert set(dualnet.__all__) <= set(dir(dualnet))
    for name in dualnet.__all__:
        assert callable(getattr(dualnet, name))
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        dualnet.trian  # noqa: B018


def test_from_a_net_to_a_model(workdir):
    remarks = []
    parts = dualnet.split(NET, [("pool2", "conv3")], "nets", remark=remarks.append)
    said = []
    run = dualnet.train(parts.yaml, "run", SHORT, say=said.append)
    assert said[0] == "training net1 and net2 in run" and run.path == "run"
    assert [one.path for one in dualnet.runs(".")] == ["./run"]

    result = run.evaluate()
    assert result["iteration"] == 4 and 0 <= result["accuracy"] <= 1
    assert dualnet.evaluate("run", batches=1)["samples"] == 60

    curves = run.curves()
    loss = curves["loss"]
    assert loss.iterations.tolist() == [0, 1, 2, 3] and np.isfinite(loss.values).all()
    assert {"accuracy", "net1:loss", "net2:test:accuracy"} <= set(curves)
    assert curves["accuracy"].values[-1] == pytest.approx(
        curves["net2:test:accuracy"].values[-1], abs=1e-6
    )

    files = run.merge("made/model.caffemodel")
    assert files[0] == "made/model.caffemodel" and (workdir / files[2]).exists()
    assert len(run.digest()) == 64
    assert {piece.state for piece in run.status().pieces.values()} == {"complete"}
    assert run.config.train.max_iter == 4


def test_the_uncut_net(workdir):
    run = dualnet.train("configs/digits.yaml", "single", SHORT, single=True)
    assert list(run.status().pieces) == ["single"]
    assert run.curves()["loss"].values.shape == (4,)
    assert run.evaluate()["iteration"] == 4


def test_errors_are_those_of_the_command_line(workdir):
    with pytest.raises(ConfigError, match="did you mean train.max_iter"):
        dualnet.train("configs/digits.yaml", "run", ["train.max_itr=3"])
    with pytest.raises(ConfigError, match="no run here"):
        dualnet.Run("nowhere").evaluate()
    with pytest.raises(UsageError, match="unexpected keyword argument"):
        dualnet.plan(NET, repeat=3)
    with pytest.raises(UsageError, match="no such directory"):
        dualnet.runs("nowhere")


def test_import_caffe_finds_a_caffe(repository):
    code = (
        "import sys; import dualnet; assert 'torch' not in sys.modules; import caffe; caffe.Net\n"
        "from dualnet import backend; is_engine = hasattr(caffe, 'is_dualnet_engine')\n"
        "assert backend.provider == ('engine' if is_engine else 'bvlc')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=str(repository), check=True, timeout=120)
