"""What one piece of a run is made of, as facts that can be compared from one start to the next.

The solver and the net as used, what the files hold that they name, the weights that the training
begins with, the provider and the number of threads. What files are called and where they lie is no
fact. Not seen: what a Python layer imports or reads by itself, and the versions of the libraries.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from typing import Any, NamedTuple, Optional

from dualnet import backend
from dualnet.config import Config
from dualnet.config.cores import thread_count
from dualnet.cut.fields import Field, walk
from dualnet.data import fingerprint
from dualnet.training.net.resolve import Resolved

__all__ = ["TRAINING_VERSION", "Fact", "collect"]

#: Raised when the same inputs come to other weights or other messages than before.
TRAINING_VERSION = 2

#: What the solver says about where its files are and what is shown; max_iter may grow.
_FREE_OF_SOLVER = (
    "net", "snapshot_prefix", "snapshot_format", "display", "debug_info", "max_iter",
    "random_seed", "solver_mode", "device_id", "layer_wise_reduce", "weights",
)  # fmt: skip
#: What a net says that changes nothing that is computed.
_FREE_OF_NET = ("name", "debug_info")
_FREE_OF_LAYER = (
    "root_folder", "hdf5_output_param.file_name", "data_param.prefetch", "data_param.backend",
)  # fmt: skip


class Fact(NamedTuple):
    """One thing that a run holds.

    Attributes:
        where: The file or key that says so, as it is called at present.
        what: What it is about, without any path; each fact of a piece has another.
        value: As text.
        remedy: How to have the earlier value back, where that is more than changing it.
        is_content: `value` tells what a file holds, `where` is its path.
    """

    where: str
    what: str
    value: str
    remedy: str = "change it back"
    is_content: bool = False


def collect(config: Config, resolved: Resolved) -> list[Fact]:
    """The facts of a piece, those first that others follow from.

    Args:
        config: The run.
        resolved: The piece's solver and net; its data are read where they are said to be.

    Raises:
        OSError: The disk fails.
    """
    name = resolved.name
    piece = config.piece(name)
    facts = [
        Fact("dualnet", "version of the training", str(TRAINING_VERSION),
             "use the version of dualnet that the run began with"),
        Fact("Caffe", "provider", backend.provider,
             "set caffe to that provider, or DUALNET_CAFFE"),
    ]  # fmt: skip
    if piece.device == "cpu":
        count = thread_count(piece.cores, piece.threads)
        facts.append(
            Fact(f"{name}.threads", "threads", str(count),
                 f"set {name}.threads to what it was: sums are rounded differently")
        )  # fmt: skip
    facts += _of_message(piece.solver, "solver ", resolved.solver, _FREE_OF_SOLVER)
    source = resolved.train.path
    facts += _of_net(source, resolved.net)
    facts += _of_modules(source, resolved.net)
    for number, path in enumerate(config.train.weights):
        held = fingerprint.of_file(path)
        facts.append(Fact(path, f"train.weights[{number}]", held, is_content=True))
    return facts


def _of_message(where: str, prefix: str, message: Any, free: tuple[str, ...]) -> Iterator[Fact]:
    for field in walk(message):
        if field.path.partition(".")[0].partition("[")[0] not in free:
            yield Fact(where, prefix + field.path, field.value)


def _of_net(where: str, net: Any) -> Iterator[Fact]:
    yield from _of_message(where, "net ", net, (*_FREE_OF_NET, "layer"))
    for number, layer in enumerate(net.layer):
        # The number alone: a name that has changed is one difference, not one for each field.
        prefix = f"layer {number} "
        for field in walk(layer):
            if field.name in _FREE_OF_LAYER or field.path in _FREE_OF_LAYER:
                continue
            content = _content(layer, field)
            if content is None:
                yield Fact(f"{where}: {layer.name}", prefix + field.path, field.value)
            else:
                path = str(getattr(field.message, field.name))
                yield Fact(path, prefix + field.path, content, "put back what it held", True)


def _content(layer: Any, field: Field) -> Optional[str]:
    """What the file holds that a field names; None if it names none."""
    path = str(getattr(field.message, field.name)) if field.value.startswith('"') else ""
    if not path or field.name not in ("source", "mean_file"):
        return None
    owner = field.path.partition(".")[0]
    if field.name == "mean_file":
        return fingerprint.of_file(path)
    if owner == "data_param":
        return fingerprint.of_database(path)
    if owner == "image_data_param":
        return fingerprint.of_image_list(path, field.message.root_folder)
    if owner == "window_data_param":
        return fingerprint.of_window_file(path, field.message.root_folder)
    if owner == "hdf5_data_param":
        return fingerprint.of_hdf5_list(path)
    return fingerprint.of_file(path)


def _of_modules(where: str, net: Any) -> Iterator[Fact]:
    """The source of each module that Python layers come from, but for dualnet's own."""
    names = {layer.python_param.module for layer in net.layer if layer.type == "Python"}
    for name in sorted(names):
        if name.partition(".")[0] == "dualnet":
            continue  # its version is a fact of its own
        path = _source_of(name)
        value = fingerprint.of_file(path) if path else fingerprint.MISSING
        yield Fact(path or where, f"Python module {name}", value, "put back what it held")


def _source_of(module: str) -> str:
    """Where a module's source is, found without running it; "" if it has none."""
    loaded = getattr(sys.modules.get(module), "__file__", None)
    if loaded:
        return str(loaded)
    places: Any = None
    spec = None
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        try:
            spec = PathFinder.find_spec(".".join(parts[:count]), places)
        except (ImportError, ValueError):
            return ""
        if spec is None:
            return ""
        places = spec.submodule_search_locations
    origin = spec.origin if spec is not None else None
    return origin if origin and os.path.isfile(origin) else ""
