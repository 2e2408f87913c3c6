"""What this machine has for dualnet, and what it lacks."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
from typing import NamedTuple, Optional

from dualnet import __version__
from dualnet.data.recipes import COMMANDS
from dualnet.errors import UsageError

__all__ = ["Finding", "examine", "report"]

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


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        mark: `ok`; `--`, absent and optional; `!!`, without it training cannot work.
        text: What was found, or what to do.
    """

    mark: str
    text: str


def examine(shared: Optional[str] = None) -> list[Finding]:
    """Look at this machine.

    Args:
        shared: A directory that the pieces' nodes are to share, which is tried too.
    """
    found = [Finding("ok", f"dualnet {__version__}, Python {platform.python_version()}")]
    found += [_library(name, purpose) for name, purpose in LIBRARIES]
    found += [_provider(), *_devices(), _cores(), _space(), _graphviz()]
    if shared is not None:
        from dualnet.exchange.disk.trial import try_directory

        found.append(Finding(*try_directory(shared)))
    return [*found, *(_data_set(name) for name in COMMANDS)]


def report(found: list[Finding]) -> str:
    """The findings as text, one a line."""
    return "".join(f"{mark}  {text}\n" for mark, text in found)


def _library(name: str, purpose: str) -> Finding:
    try:
        module = importlib.import_module(name)
    except ImportError:
        return Finding(
            "!!", f"{name}: missing, needed for {purpose}; pip install dualnet brings it"
        )
    except Exception as error:  # a broken installation may raise anything, and is to be found here
        reason = " ".join(str(error).split())
        return Finding("!!", f"{name}: broken ({reason}), needed for {purpose}")
    return Finding("ok", f"{name} {getattr(module, '__version__', 'present')}: {purpose}")


def _provider() -> Finding:
    try:
        backend = importlib.import_module("dualnet.backend")
    except UsageError as error:
        return Finding("!!", str(error))
    version = getattr(backend.caffe, "__version__", "")
    on = f" on PyTorch {_torch_version()}" if backend.provider == "engine" else ""
    return Finding("ok", f"Caffe: {backend.provider} {version}".rstrip() + on)


def _torch_version() -> str:
    return str(getattr(importlib.import_module("torch"), "__version__", ""))


def _devices() -> list[Finding]:
    # By file, not through a framework: a GPU may be there and the framework unable to use it.
    gpus = [name for name in os.listdir("/dev") if name[:6] == "nvidia" and name[6:].isdigit()]
    if not gpus:
        return [Finding("--", "no NVIDIA GPU here: use device: cpu")]
    usable = _usable_gpus()
    if usable is None:
        return [
            Finding("--", f"GPU {name[6:]}: PyTorch cannot be imported, which would use it")
            for name in sorted(gpus)
        ]
    if not usable:
        return [
            Finding(
                "--",
                f"{len(gpus)} NVIDIA GPU here, but PyTorch {_torch_version()} cannot use it: "
                "install PyTorch's build for CUDA, and look whether nvidia-smi works",
            )
        ]
    return [Finding("ok", f"GPU {number}: {what}") for number, what in enumerate(usable)]


def _usable_gpus() -> Optional[list[str]]:
    """What PyTorch says of each GPU that it can use; None without PyTorch."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return None
    return [
        f"{torch.cuda.get_device_name(number)}, "
        f"{torch.cuda.get_device_properties(number).total_memory / 2**30:.0f} GiB: "
        f"use device: {number}"
        for number in range(torch.cuda.device_count())
    ]


def _cores() -> Finding:
    return Finding("ok", f"{len(os.sched_getaffinity(0))} CPU cores for this process")


def _space() -> Finding:
    free = shutil.disk_usage(".").free / 2**30
    return Finding("ok" if free > 1 else "--", f"{free:.1f} GiB free in the working directory")


def _graphviz() -> Finding:
    if shutil.which("dot"):
        return Finding("ok", "graphviz's dot: drawings as images")
    return Finding("--", "graphviz's dot is not on the PATH: dualnet draw writes .dot files only")


def _data_set(name: str) -> Finding:
    path = os.path.join("data", name, "train_lmdb")
    if os.path.isdir(path):
        return Finding("ok", f"data set {name} in data/{name}")
    return Finding("--", f"data set {name} is not in data/{name}: dualnet data {name}")
