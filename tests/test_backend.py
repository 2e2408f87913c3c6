"""The choice of Caffe: what each value of DUALNET_CAFFE gives, and what is said where it is not."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from dualnet import backend
from dualnet.errors import UsageError

BVLC = SimpleNamespace(SGDSolver=SimpleNamespace(apply_update=None), __version__="1.0.0")
OLD = SimpleNamespace(SGDSolver=SimpleNamespace(), __version__="1.0.0-rc3")
ENGINE = SimpleNamespace(is_dualnet_engine=True)


def missing(name):
    def importing(*arguments):
        raise ImportError(f"No module named {name!r}")

    return importing


@pytest.fixture
def installed(monkeypatch):
    """Pretends that just these providers can be imported."""

    def install(bvlc=None, engine=None):
        monkeypatch.delitem(sys.modules, "caffe", raising=False)
        real = backend.importlib.import_module

        def import_module(name):
            if name != "caffe":
                return real(name)
            return bvlc if bvlc is not None else missing("caffe")()

        monkeypatch.setattr(backend.importlib, "import_module", import_module)
        register = missing("torch") if engine is None else lambda: engine
        monkeypatch.setattr(backend, "_import_engine", register)

    return install


@pytest.mark.parametrize(
    ("wanted", "bvlc", "engine", "expected"),
    [
        ("auto", BVLC, ENGINE, ("bvlc", BVLC)),
        ("auto", None, ENGINE, ("engine", ENGINE)),
        ("auto", BVLC, None, ("bvlc", BVLC)),
        ("bvlc", BVLC, ENGINE, ("bvlc", BVLC)),
        ("engine", BVLC, ENGINE, ("engine", ENGINE)),
    ],
)
def test_choice(installed, wanted, bvlc, engine, expected):
    installed(bvlc, engine)
    assert backend._choose(wanted) == expected


@pytest.mark.parametrize(
    ("wanted", "bvlc", "engine", "expected"),
    [
        ("caffe2", BVLC, ENGINE, ["DUALNET_CAFFE=caffe2", "auto, bvlc, engine"]),
        ("bvlc", None, ENGINE, ["DUALNET_CAFFE=bvlc", "No module named 'caffe'",
                                "install_caffe.sh", "DUALNET_CAFFE=engine"]),
        ("bvlc", OLD, ENGINE, ["BVLC Caffe 1.0.0-rc3", "apply_update", "June 2018"]),
        ("auto", OLD, ENGINE, ["BVLC Caffe 1.0.0-rc3", "DUALNET_CAFFE=engine"]),
        ("engine", BVLC, None, ["No module named 'torch'", "pip install", "install_caffe.sh"]),
        ("auto", None, None, ["neither BVLC Caffe nor the engine", "pip install"]),
    ],
)  # fmt: skip
def test_what_is_missing_is_told_with_the_remedy(installed, wanted, bvlc, engine, expected):
    installed(bvlc, engine)
    with pytest.raises(UsageError) as caught:
        backend._choose(wanted)
    assert "\n" not in str(caught.value)
    for part in expected:
        assert part in str(caught.value)


def test_engine_registered_as_caffe_is_not_taken_for_the_real_one(installed, monkeypatch):
    installed(BVLC, ENGINE)
    monkeypatch.setitem(sys.modules, "caffe", ENGINE)
    assert backend._choose("auto") == ("engine", ENGINE)


# In processes of their own.


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
        env={**os.environ, **environment},
    )  # fmt: skip


def test_python_layers_find_the_same_caffe(repository, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(repository), prepend=":")
    done = run(
        "from dualnet.backend import caffe, caffe_pb2, provider\n"
        "import caffe as imported, caffe.proto.caffe_pb2 as messages\n"
        "assert imported is caffe and messages is caffe_pb2\n"
        "print(provider, caffe_pb2.NetParameter.DESCRIPTOR.full_name)\n",
        DUALNET_CAFFE=backend.provider,
    )
    assert done.stdout.split() == [backend.provider, "caffe.NetParameter"], done.stderr


def test_empty_variable_means_auto(repository, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(repository), prepend=":")
    done = run("from dualnet.backend import provider; print(provider)", DUALNET_CAFFE="")
    assert done.stdout.strip() in ("bvlc", "engine"), done.stderr


def test_command_tells_a_wrong_variable_in_one_line(repository, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(repository), prepend=":")
    code = (
        "import sys; from dualnet.cli import main; "
        "sys.exit(main(['single', 'configs/digits.yaml', '--run-dir', '/nowhere/run']))"
    )
    monkeypatch.chdir(repository)
    done = run(code, DUALNET_CAFFE="cafe")
    assert done.returncode == 2
    assert done.stderr == "dualnet: DUALNET_CAFFE=cafe: valid values are auto, bvlc, engine\n"
