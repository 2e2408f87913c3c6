"""Weights that a net begins with, from other nets' files, and which layers got some.

The files are those of `train.weights`, after those that the solver's own `weights` names.

Caffe copies by layer name and says nothing where no name fits. Here each file is read first, so
that the log has Caffe's lines, and how many layers got weights. A file of which no layer fits ends
the run, and so does a shape that differs, with the same line on both providers.

In a chain a file may hold the layers of several pieces. Those of other pieces are left to them. A
copy of a dual layer for which no file has weights takes those of the layer that it copies, as the
file of a single net has only these.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Callable, Optional

import numpy as np

from dualnet.config import Config, below
from dualnet.cut.graph import NetGraph, read_solver, solver_states
from dualnet.cut.solver_nets import net_of
from dualnet.errors import ConfigError
from dualnet.training.net.resolve import Resolved
from dualnet.training.net.weights_file import StoredLayer, WeightsFile, read_weights_file

__all__ = ["start_from"]

#: Names that a line lists at most.
_SHOWN = 8

Say = Callable[[str], None]


def start_from(config: Config, resolved: Resolved, net: Any, say: Say, warn: Say) -> None:
    """Copy the weights that a piece begins with into its net, and say of each file what it gave.

    Args:
        config: The run.
        resolved: The piece's prototxt, and the files.
        net: Its pycaffe net in training.
        say: Takes a line for the log.
        warn: Takes a line of a warning.

    Raises:
        ConfigError: A file cannot be read, fits no net of this run, or has another shape for a
            parameter.
    """
    if not resolved.weights:
        return
    files = [read_weights_file(path) for path in resolved.weights]
    target = _Target(config, resolved, net)
    given: set[str] = set()
    for file in files:
        say(f"Finetuning from {file.path}")
        target.check(file)
        for layer in file.layers:
            if target.is_unknown(layer):
                say(f"Ignoring source layer {layer.name}")
        target.copy(file)
        given.update(name for name in file.with_weights if name in target.shapes)
        for line in _twice(file, target):
            warn(line)
        say(_account(file, target))
    for dual, line in target.fill_duals(files, given):
        given.add(dual)
        say(line)
    left = [name for name in target.shapes if name not in given]
    if left:
        warn(
            f"{_counted(left)} of {resolved.name} got weights from no file and "
            f"{'begins' if len(left) == 1 else 'begin'} with the prototxt's fillers: {_some(left)}"
        )


class _Target:
    """The net that takes weights, and what the run's other nets are made of.

    Args:
        config: The run.
        resolved: The piece's prototxt.
        net: Its net.
    """

    def __init__(self, config: Config, resolved: Resolved, net: Any) -> None:
        self.name, self._net = resolved.name, net
        #: Layer name to its parameters' shapes, for layers that have some.
        self.shapes: dict[str, list[tuple[int, ...]]] = {}
        self._places: dict[str, int] = {}
        self._layers = {str(name) for name in net._layer_names}
        for place, name in enumerate(map(str, net._layer_names)):
            blobs = net.layers[place].blobs
            # Of several layers with one name Caffe takes the first.
            if name not in self._places and len(blobs):
                self.shapes[name] = [tuple(int(n) for n in blob.shape) for blob in blobs]
            self._places.setdefault(name, place)
        #: (layer, number) of parameters with a name, by which others may share them.
        self._shared = {
            (str(layer.name), i)
            for layer in resolved.train.layers
            for i, param in enumerate(layer.param)
            if param.name
        }
        others = [name for name in config.names if name != self.name]
        #: Layer name to the other pieces that have one of it.
        self.others: dict[str, list[str]] = {}
        for piece in others if self.name in config.names else []:
            for layer in _layers_of(config, piece):
                self.others.setdefault(layer, []).append(piece)
        #: This piece's copies of dual layers to the layers that they are copies of, the nearest
        #: first.
        self._duals = {
            dual: sources
            for dual, sources in _originals(config, self.name).items()
            if dual in self.shapes
        }

    def is_others(self, layer: StoredLayer) -> bool:
        """Whether only other pieces have the layer."""
        return layer.name not in self._layers and layer.name in self.others

    def is_unknown(self, layer: StoredLayer) -> bool:
        """Whether no piece has the layer."""
        return layer.name not in self._layers and layer.name not in self.others

    def check(self, file: WeightsFile) -> None:
        """Refuse a file that Caffe would take without using it, or end the process over."""
        stored = file.with_weights
        mine = [layer for name, layer in stored.items() if name in self._places]
        if not mine and not any(map(self.is_others, stored.values())):
            raise ConfigError(self._nothing(file))
        for layer in file.layers:
            if layer.name in self.shapes or (layer.name in self._places and layer.shapes):
                self._compare(file, layer, layer.name)

    def _nothing(self, file: WeightsFile) -> str:
        what = f"weights: {file.path}: "
        if not file.with_weights:
            names = [layer.name for layer in file.layers]
            return (
                f"{what}none of its layers ({_some(names)}) has weights; name a file that a "
                "training has saved"
            )
        mine = f"{self.name}'s ({_some(self.shapes)})"
        names = list(dict.fromkeys(name for found in self.others.values() for name in found))
        theirs = f" or {', '.join(names)}'s ({_some(self.others)})" if names else ""
        return (
            f"{what}none of its layers with weights ({_some(file.with_weights)}) is one of "
            f"{mine}{theirs}; weights are copied by layer name: rename layers, or leave the file "
            "out"
        )

    def _compare(self, file: WeightsFile, layer: StoredLayer, name: str) -> None:
        """Raise ConfigError unless the net's layer `name` can take the stored parameters."""
        wanted = self.shapes.get(name, [])
        where = f"weights: {file.path}: layer {layer.name}"
        here = f"in {self.name}" + ("" if name == layer.name else f"'s {name}")
        remedy = "rename the layer in the prototxt to let it begin with its own fillers"
        is_whole = sorted(layer.shapes) == list(range(len(wanted)))
        if not is_whole and not (file.is_hdf5 and self._may_share(name, layer)):
            raise ConfigError(
                f"{where} has {_numbered(layer.shapes)} there and {len(wanted)} {here}; {remedy}"
            )
        for number, shape in layer.shapes.items():
            if not shape.fits(wanted[number]):
                raise ConfigError(
                    f"{where}: parameter {number} is {_dims(shape.dims)} there and "
                    f"{_dims(wanted[number])} {here}; {remedy}"
                )

    def _may_share(self, name: str, layer: StoredLayer) -> bool:
        """Whether the parameters that HDF5 does not have for a layer are another layer's, too."""
        numbers = range(len(self.shapes.get(name, [])))
        return all(i in numbers for i in layer.shapes) and all(
            (name, i) in self._shared for i in numbers if i not in layer.shapes
        )

    def copy(self, file: WeightsFile) -> None:
        """Copy what fits, by layer name."""
        if not file.is_hdf5:
            # The engine warns of files that give nothing, as this may be but for the dual layers.
            if any(name in self.shapes for name in file.with_weights):
                self._net.copy_from(file.path)
            return
        # Not by Caffe: BVLC's does not find a layer within another's group (`a/b`).
        for name in self.shapes:
            if name in file.with_weights:
                self._put(name, file.values(name))

    def _put(self, name: str, values: dict[int, np.ndarray]) -> None:
        blobs = self._net.layers[self._places[name]].blobs
        for number, array in values.items():
            blobs[number].data[...] = np.reshape(array, blobs[number].data.shape)

    def fill_duals(
        self, files: Sequence[WeightsFile], given: Collection[str]
    ) -> list[tuple[str, str]]:
        """Let copies of dual layers for which no file has weights take their originals'.

        Returns:
            For each the dual layer and a line for the log.
        """
        done = []
        for dual, sources in self._duals.items():
            found = [(name, _last_with(files, name)) for name in sources]
            source, file = next(((n, one) for n, one in found if one), ("", None))
            if dual in given or file is None:
                continue
            self._compare(file, file.with_weights[source], dual)
            self._put(dual, file.values(source))
            line = f"Copying source layer {source} to its dual {dual}, from {file.path}"
            done.append((dual, line))
        return done


def _originals(config: Config, name: str) -> dict[str, list[str]]:
    """A piece's copies of dual layers to the names of what they copy, the nearest first.

    Where a cut's dual layer is itself a copy, its own originals follow.
    """
    end = below(config, name)
    if end is None:
        return {}
    further = _originals(config, end.neighbour)
    return {copy: [layer, *further.get(layer, [])] for layer, copy in end.cut.dual.items()}


def _last_with(files: Sequence[WeightsFile], name: str) -> Optional[WeightsFile]:
    found = [file for file in files if name in file.with_weights]
    return found[-1] if found else None


def _layers_of(config: Config, piece: str) -> list[str]:
    """Names of a piece's layers in training; none where its prototxt is not at hand.

    Another piece's prototxt is needed for words in the log alone, so that whatever is wrong with it
    is for that piece to say.
    """
    try:
        solver = read_solver(config.piece(piece).solver)
        found = net_of(solver, config.piece(piece).solver)
        graph = NetGraph(found.net, "TRAIN", found.path, solver_states(solver).get("TRAIN"))
    except ConfigError:
        return []
    return [str(layer.name) for layer in graph.layers]


def _account(file: WeightsFile, target: _Target) -> str:
    """What a file gave, in one line."""
    stored = file.with_weights
    got = [name for name in target.shapes if name in stored]
    left = [name for name, layer in stored.items() if target.is_others(layer)]
    lost = [name for name, layer in stored.items() if target.is_unknown(layer)]
    parts = [
        f"weights for {len(got)} of {target.name}'s {_counted(target.shapes)} with weights"
        + (f" ({_some(got)})" if got else "")
    ]
    if left:
        whose = dict.fromkeys(name for layer in left for name in target.others[layer])
        parts.append(f"{_counted(left)} left to {', '.join(whose)} ({_some(left)})")
    if lost:
        whose_not = "no piece has" if target.others else f"{target.name} does not have"
        parts.append(f"{_counted(lost)} ignored, which {whose_not} ({_some(lost)})")
    return f"{file.path}: {'; '.join(parts)}"


def _twice(file: WeightsFile, target: _Target) -> list[str]:
    """Warnings of layers that a file has several times: all are copied, so that the last counts."""
    names = [layer.name for layer in file.layers if layer.shapes]
    return [
        f"{file.path}: {names.count(name)} layers with weights are called {name}; the last one's "
        "are taken"
        for name in dict.fromkeys(names)
        if names.count(name) > 1 and name in target.shapes
    ]


def _counted(names: Collection[str]) -> str:
    return f"{len(names)} layer{'' if len(names) == 1 else 's'}"


def _numbered(numbers: Collection[int]) -> str:
    """As "2 parameters", and which ones where that is no matter of course."""
    words = f"{len(numbers)} parameter{'' if len(numbers) == 1 else 's'}"
    if sorted(numbers) == list(range(len(numbers))):
        return words
    return f"{words} (numbers {', '.join(map(str, sorted(numbers)))})"


def _some(names: Collection[str]) -> str:
    shown = list(names)[:_SHOWN]
    rest = len(names) - len(shown)
    return (", ".join(shown) or "none") + (f" and {rest} more" if rest else "")


def _dims(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes)) or "()"
