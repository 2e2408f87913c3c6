"""Layer types by name. Modules of this package register themselves when first asked for."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Callable, TypeVar

from dualnet.engine.errors import UnknownLayerError
from dualnet.engine.layers.base import Layer
from dualnet.engine.proto.fork_names import owners_of_layer

__all__ = ["layer_class", "layer_type_list", "register"]

L = TypeVar("L", bound=type[Layer])

_classes: dict[str, type[Layer]] = {}
_loaded = False


def register(name: str) -> Callable[[L], L]:
    """Class decorator: makes a layer available as `type: "name"` in prototxt."""

    def add(cls: L) -> L:
        cls.type = name
        _classes[name] = cls
        return cls

    return add


def layer_class(type_name: str, layer_name: str = "") -> type[Layer]:
    """The class of a layer type.

    Args:
        type_name: as written in prototxt.
        layer_name: the layer, for the message.

    Raises:
        UnknownLayerError: names the forks of Caffe that have it, or lists the types that exist.
    """
    _load_all()
    if type_name not in _classes:
        forks = owners_of_layer(type_name)
        if forks:
            raise UnknownLayerError(
                f"layer '{layer_name}' has type '{type_name}', which is of {forks}, not of BVLC "
                "Caffe; the engine does not have it"
            )
        raise UnknownLayerError(
            f"layer '{layer_name}' has unknown type '{type_name}'; the types are: "
            f"{', '.join(layer_type_list())}"
        )
    return _classes[type_name]


def layer_type_list() -> list[str]:
    """All layer types in alphabetical order."""
    _load_all()
    return sorted(_classes)


def _load_all() -> None:
    """Imports every module of the families' folders: a new file needs no list to be edited."""
    global _loaded
    if _loaded:
        return
    package = importlib.import_module("dualnet.engine.layers")
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
    _loaded = True
