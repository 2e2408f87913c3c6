"""Train a convolutional network in pieces, each on its own node, with BVLC Caffe or without it.

    >>> import dualnet
    >>> parts = dualnet.split("net_train_test.prototxt", [("pool2", "conv3")], "nets")
    >>> run = dualnet.train(parts.yaml)
    >>> run.evaluate()["accuracy"], run.curves()["loss"].values[-1]

`import caffe` finds the engine from then on, where no BVLC Caffe is installed.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dualnet.api.nets import plan, split
    from dualnet.api.results import Curve, Run, evaluate, export, merge, runs
    from dualnet.api.training import train

__all__ = ["Curve", "Run", "evaluate", "export", "merge", "plan", "runs", "split", "train"]

__version__ = "0.1.0"

#: Where each name is. They are loaded when they are asked for: most commands need few of them.
_HOMES = {
    **dict.fromkeys(("plan", "split"), "dualnet.api.nets"),
    **dict.fromkeys(("Curve", "Run", "evaluate", "export", "merge", "runs"), "dualnet.api.results"),
    "train": "dualnet.api.training",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


if os.environ.get("DUALNET_CAFFE") != "bvlc":
    # Last, so that an installed BVLC Caffe comes first.
    sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "engine/importable"))
