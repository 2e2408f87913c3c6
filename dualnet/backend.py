"""Selects the Caffe provider: `from dualnet.backend import caffe` imports its pycaffe.

`DUALNET_CAFFE` names the provider; it is read at the first import of this module:

- `bvlc`: BVLC Caffe itself; an error where it cannot be imported.
- `engine`: dualnet's own pycaffe on PyTorch, registered as the module `caffe`, so that Python
  layers and scripts which `import caffe` find it.
- `auto` (the default): BVLC Caffe where it can be imported, else the engine.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from dualnet.errors import UsageError

__all__ = ["caffe", "caffe_pb2", "provider"]


def _import_bvlc() -> Any:
    module = importlib.import_module("caffe")
    if getattr(module, "is_dualnet_engine", False):
        raise ImportError("what is called caffe here is the engine")
    if not hasattr(module.SGDSolver, "apply_update"):
        raise UsageError(
            f"BVLC Caffe {getattr(module, '__version__', '?')} has no apply_update: dualnet needs "
            "Caffe of June 2018 or later, as Debian's python3-caffe; or set DUALNET_CAFFE=engine"
        )
    return module


def _import_engine() -> Any:
    from dualnet import engine

    return engine.register()


def _choose(wanted: str) -> tuple[str, Any]:
    if wanted not in ("auto", "bvlc", "engine"):
        raise UsageError(f"DUALNET_CAFFE={wanted}: valid values are auto, bvlc, engine")
    loaded = sys.modules.get("caffe")
    if wanted != "engine" and not getattr(loaded, "is_dualnet_engine", False):
        try:
            return "bvlc", _import_bvlc()
        except ImportError as error:
            if wanted == "bvlc":
                raise UsageError(
                    f"DUALNET_CAFFE=bvlc: BVLC Caffe cannot be imported here ({error}); install it "
                    "with scripts/install_caffe.sh and use .caffe/bin/python, or set "
                    "DUALNET_CAFFE=engine"
                ) from error
    try:
        return "engine", _import_engine()
    except ImportError as error:
        raise UsageError(
            "no Caffe found: neither BVLC Caffe nor the engine's PyTorch can be imported "
            f'({error}); pip install "dualnet[engine]" brings PyTorch, scripts/install_caffe.sh '
            "of the repository BVLC Caffe"
        ) from error


#: `bvlc` or `engine`.
provider: str
#: The pycaffe module.
caffe: Any
provider, caffe = _choose(os.environ.get("DUALNET_CAFFE", "auto") or "auto")
#: Caffe's message classes, as the provider has them.
caffe_pb2: Any = importlib.import_module("caffe.proto.caffe_pb2")
