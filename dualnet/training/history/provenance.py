"""What a life of a piece was made with: program, libraries, machine, device, seeds and data.

All of it is cheap to find: versions come from the packages' metadata, digests of the data from what
the start has looked at anyway (start/inputs.py).
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Sequence
from functools import lru_cache
from glob import glob
from importlib import metadata
from typing import Any

from dualnet import __version__, backend
from dualnet.config import Config
from dualnet.config.cores import thread_count
from dualnet.engine.formats.regular_file import read_at_most
from dualnet.process.lifeline import FLAG
from dualnet.training.history.source import own_commit
from dualnet.training.net.resolve import Resolved

__all__ = ["provenance"]

#: Whose versions are recorded, where they are installed.
_LIBRARIES = (
    "numpy", "torch", "protobuf", "lmdb", "h5py", "PyYAML", "Pillow", "blake3", "plyvel",
    "plyvel-next", "tensorboardX",
)  # fmt: skip
#: Variables of the environment that change how a piece computes, or say which job it belongs to.
_VARIABLES = (
    "CUDA_VISIBLE_DEVICES", "DUALNET_CAFFE", "MKL_NUM_THREADS", "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS", "SLURM_JOB_ID", "SLURM_RESTART_COUNT",
)  # fmt: skip
_LIMIT_BYTES = 1 << 16


def provenance(
    config: Config, resolved: Resolved, data: Sequence[dict[str, str]]
) -> dict[str, Any]:
    """The facts of a life, JSON-able.

    Args:
        config: The run.
        resolved: The piece's solver and net.
        data: What each file holds that the net reads: its path, and how it was told.

    Returns:
        dualnet, commit ("" if it is no checkout's), python, libraries, provider and
        provider_version, command, launched_by ([] if by hand or by a batch system), directory,
        platform, processor, usable_cores, device, gpu, threads, samples_per_iteration, seed,
        environment and data.
    """
    piece = config.piece(resolved.name)
    on_cpu = piece.device == "cpu"
    return {
        "dualnet": __version__,
        "commit": own_commit(),
        "python": platform.python_version(),
        "libraries": _versions(),
        "provider": backend.provider,
        "provider_version": str(getattr(backend.caffe, "__version__", "")),
        "command": _command(),
        "launched_by": _parent_command() if FLAG in sys.argv else [],
        "directory": os.getcwd(),
        "platform": platform.platform(),
        "processor": _processor(),
        "usable_cores": len(os.sched_getaffinity(0)),
        "device": piece.device,
        "gpu": "" if on_cpu else _gpus(),
        "threads": thread_count(piece.cores, piece.threads) if on_cpu else None,
        "samples_per_iteration": resolved.batch_size * resolved.iter_size,
        "seed": _seed(config, resolved),
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "data": list(data),
    }


def _seed(config: Config, resolved: Resolved) -> dict[str, Any]:
    """The seed in use, and the solver's own, which the config's takes the place of."""
    return {
        "used": config.seed,
        "from": "seed of the config",
        "solver_random_seed": resolved.solver_seed,
    }


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _command() -> list[str]:
    """The command line of this process, as its user would type it."""
    program = os.path.basename(sys.argv[0])
    return ["dualnet" if program == "__main__.py" else program, *sys.argv[1:]]


def _parent_command() -> list[str]:
    """The command line of the process that has started this one, which is dualnet's, too."""
    try:
        words = read_at_most(f"/proc/{os.getppid()}/cmdline", _LIMIT_BYTES).split(b"\0")
    except OSError:
        return []
    command = [word.decode(errors="replace") for word in words[:-1]]
    # What comes before is how Python was found: an interpreter, a loader and its libraries.
    places = [place for place, word in enumerate(command) if os.path.basename(word) == "dualnet"]
    return ["dualnet", *command[places[0] + 1 :]] if places else command


@lru_cache(maxsize=1)
def _processor() -> str:
    """The processor's name, "" where the system does not say."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            text = file.read(_LIMIT_BYTES)  # each core has a paragraph, mostly the same
    except OSError:
        return ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.machine()


def _gpus() -> str:
    """The models of this machine's GPUs, as NVIDIA's driver calls them."""
    models = set()
    for path in glob("/proc/driver/nvidia/gpus/*/information"):
        try:
            text = read_at_most(path, _LIMIT_BYTES).decode(errors="replace")
        except OSError:
            continue
        models.update(re.findall(r"^Model:\s*(.+)$", text, re.MULTILINE))
    return ", ".join(sorted(models))
