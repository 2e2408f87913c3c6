"""What this machine has for dualnet, and what it lacks."""

from __future__ import annotations

import importlib
import os
import platform
import shutil

from dualnet import __version__

__all__ = ["examine"]

#: Modules and what dualnet needs them for.
LIBRARIES = (
    ("numpy", "arrays"),
    ("google.protobuf", "prototxt and caffemodel"),
    ("lmdb", "data sets"),
    ("yaml", "configs"),
    ("matplotlib", "figures"),
    ("h5py", "HDF5 data and snapshots"),
    ("PIL", "images"),
    ("tqdm", "progress"),
)


def examine() -> str:
    """A report of several lines, each beginning with `ok`, `--` (absent, optional) or `!!`."""
    lines = [("ok", f"dualnet {__version__}, Python {platform.python_version()}")]
    lines += [_library(name, purpose) for name, purpose in LIBRARIES]
    lines += [_provider(), *_devices(), _cores(), _space()]
    lines += [_data_set(name) for name in ("digits", "cifar10", "cats-dogs")]
    return "".join(f"{mark}  {text}\n" for mark, text in lines)


def _library(name: str, purpose: str) -> tuple[str, str]:
    try:
        module = importlib.import_module(name)
    except ImportError:
        return "!!", f"{name}: missing, needed for {purpose}; pip install dualnet brings it"
    except Exception as error:  # a broken installation may raise anything, and is to be found here
        return "!!", f"{name}: broken ({' '.join(str(error).split())}), needed for {purpose}"
    return "ok", f"{name} {getattr(module, '__version__', 'present')}: {purpose}"


def _provider() -> tuple[str, str]:
    from dualnet.errors import UsageError

    try:
        backend = importlib.import_module("dualnet.backend")
    except UsageError as error:
        return "!!", str(error)
    return "ok", f"Caffe: {backend.provider} {getattr(backend.caffe, '__version__', '')}".rstrip()


def _devices() -> list[tuple[str, str]]:
    # By file, not through a framework: a GPU may be there and the framework unable to use it.
    gpus = [name for name in os.listdir("/dev") if name[:6] == "nvidia" and name[6:].isdigit()]
    if not gpus:
        return [("--", "no NVIDIA GPU here: use device: cpu")]
    return [("ok", f"GPU {name[6:]}: use device: {name[6:]}") for name in sorted(gpus)]


def _cores() -> tuple[str, str]:
    return "ok", f"{len(os.sched_getaffinity(0))} CPU cores for this process"


def _space() -> tuple[str, str]:
    free = shutil.disk_usage(".").free / 2**30
    return ("ok" if free > 1 else "!!"), f"{free:.1f} GiB free in the working directory"


def _data_set(name: str) -> tuple[str, str]:
    path = os.path.join("data", name, "train_lmdb")
    if os.path.isdir(path):
        return "ok", f"data set {name} in data/{name}"
    return "--", f"data set {name} is not in data/{name}: dualnet data {name}"
