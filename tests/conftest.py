"""What every test shares: a seed, a header that names the versions, and the two fixtures."""

from __future__ import annotations

import os
import platform
import random
import signal
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

#: Fixtures in a module of their own: a user's working directory, and the command run in it.
pytest_plugins = ["tests.workdir"]

SEED = 1701
_HEADER_PACKAGES = ("numpy", "protobuf", "torch", "lmdb", "h5py")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


# A shell ignores SIGINT for its background jobs, and nohup SIGHUP; processes started from there
# would inherit that, the tests of signals included.
for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


def pytest_report_header() -> list[str]:
    """Print what a failure report needs first: the versions, and which Caffe is tested."""
    versions = ", ".join(f"{name} {_version(name)}" for name in _HEADER_PACKAGES)
    provider = os.environ.get("DUALNET_CAFFE", "auto")
    bvlc = os.environ.get("DUALNET_BVLC_PYTHON", "unset")
    return [
        f"python {platform.python_version()}, {versions}",
        f"DUALNET_CAFFE={provider}, DUALNET_BVLC_PYTHON={bvlc}, seed {SEED}",
    ]


@pytest.fixture(autouse=True)
def _process_as_it_was() -> Iterator[None]:
    """Give each test the same environment and cores: commands that it calls set both for theirs."""
    environment, cores = dict(os.environ), os.sched_getaffinity(0)
    yield
    os.environ.clear()
    os.environ.update(environment)
    os.sched_setaffinity(0, cores)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Give each test the same random numbers, whichever tests ran before it."""
    random.seed(SEED)
    np.random.seed(SEED)
    try:
        import torch
    except ImportError:  # the real Caffe's interpreter has no PyTorch
        return
    torch.manual_seed(SEED)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root folder of the repository."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def bvlc_python() -> str:
    """Path of an interpreter in which `import caffe` is BVLC Caffe; skips where there is none."""
    path = os.environ.get("DUALNET_BVLC_PYTHON", "")
    if not path:
        pytest.skip("DUALNET_BVLC_PYTHON is unset: run scripts/install_caffe.sh")
    if not os.access(path, os.X_OK):
        pytest.fail(f"DUALNET_BVLC_PYTHON={path} is not an executable file")
    return os.path.abspath(path)
