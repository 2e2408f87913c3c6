"""Layers that users write in Python (Caffe `include/caffe/layers/python_layer.hpp`)."""

from __future__ import annotations

import importlib

from dualnet.engine.errors import PrototxtError
from dualnet.engine.layers.base import Layer
from dualnet.engine.layers.registry import register
from dualnet.engine.proto import caffe_pb2

__all__ = ["PythonLayer"]


@register("Python")
class PythonLayer(Layer):
    """The base class of users' layers, `caffe.Layer`.

    Attributes:
        param_str: the text from prototxt, set before `setup`.
    """

    def __init__(self, layer_param: caffe_pb2.LayerParameter, *args: object) -> None:
        super().__init__(layer_param, *args)
        self.param_str: str = layer_param.python_param.param_str

    @classmethod
    def create(cls, layer_param: caffe_pb2.LayerParameter) -> Layer:
        """Imports the user's module and makes the layer; the module's own errors pass through.

        Raises:
            PrototxtError: there is no such module or class, or it is no layer.
        """
        module_name = layer_param.python_param.module
        class_name = layer_param.python_param.layer
        place = f"layer '{layer_param.name}': python_param"
        if not all(part.isidentifier() for part in module_name.split(".")):
            raise PrototxtError(
                f"{place}.module '{module_name[:80]}' is no name of a module; write that of a file "
                "NAME.py whose directory is on PYTHONPATH, without .py"
            )
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name not in (module_name, module_name.partition(".")[0]):
                raise
            raise PrototxtError(
                f"{place}.module '{module_name}' is not found; add its directory to PYTHONPATH"
            ) from error
        found = getattr(module, class_name, None)
        if not (isinstance(found, type) and issubclass(found, PythonLayer)):
            raise PrototxtError(
                f"{place}.layer '{class_name}': module '{module_name}' has no class of that name "
                "that derives from caffe.Layer"
            )
        layer = found(layer_param)
        if "blobs" not in vars(layer):
            raise PrototxtError(
                f"{place}.layer '{class_name}': its __init__ does not call "
                "super().__init__(layer_param)"
            )
        return layer
