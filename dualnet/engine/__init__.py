"""The engine: pycaffe's interface on PyTorch.

`dualnet.engine.pycaffe.api` is the module that programs know as `caffe`; `register()` makes
`import caffe` find it. Importing this package alone loads neither PyTorch nor NumPy.

The rooms; each imports only from those named before it: proto (Caffe's messages), core (blobs),
formats (files), records (samples), layers, net, solvers, pycaffe (the module `caffe`), command
(the command `caffe`), export (nets as PyTorch programs and ONNX files).
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

__all__ = ["register"]

#: The engine's module for each submodule of `caffe`.
_SUBMODULES = {
    "caffe._caffe": "dualnet.engine.pycaffe.api",
    "caffe.pycaffe": "dualnet.engine.pycaffe.api",
    "caffe.classifier": "dualnet.engine.pycaffe.classifier",
    "caffe.coord_map": "dualnet.engine.pycaffe.coord_map",
    "caffe.detector": "dualnet.engine.pycaffe.detector",
    "caffe.draw": "dualnet.engine.pycaffe.draw",
    "caffe.io": "dualnet.engine.pycaffe.io",
    "caffe.net_spec": "dualnet.engine.pycaffe.net_spec",
    "caffe.proto": "dualnet.engine.proto",
    "caffe.proto.caffe_pb2": "dualnet.engine.proto.caffe_pb2",
}


def register() -> ModuleType:
    """Makes `import caffe` find the engine, in place of any other Caffe not yet imported.

    Returns:
        The module that is now `caffe`.
    """
    api = importlib.import_module("dualnet.engine.pycaffe.api")
    # A path makes it a package, so that a missing `caffe.x` is reported as just that.
    api.__path__ = []  # type: ignore[attr-defined]
    # By this dualnet.backend tells it from BVLC Caffe, whoever imports `caffe` first.
    api.is_dualnet_engine = True  # type: ignore[attr-defined]
    sys.modules["caffe"] = api
    for name, target in _SUBMODULES.items():
        module = importlib.import_module(target)
        sys.modules[name] = module
        if name.count(".") == 1 and name != "caffe._caffe":
            setattr(api, name.rpartition(".")[2], module)  # as an import of a submodule does
    # For processes that users' layers start: they inherit this path, but no modules.
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "importable")
    if folder not in sys.path:
        sys.path.append(folder)
    return api
