"""The single net back from the pieces of a chain: one prototxt and one caffemodel for any Caffe.

Each piece gives its layers up to its cut, the last one all of its own; layers that exist only for
the exchange are removed: those that feed it, the losses on the dual layers, and one copy of those.
What is left has the names of the single net. The deploy net is that of deploy.py.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

from google.protobuf.message import DecodeError

from dualnet.backend import caffe_pb2
from dualnet.config import Cut
from dualnet.cut.graph import NetGraph, read_net
from dualnet.cut.input_gradient import take_out
from dualnet.cut.upstream import FEEDS
from dualnet.engine.formats.regular_file import regular_only
from dualnet.errors import ConfigError

__all__ = [
    "DUAL_SOURCES",
    "Merged",
    "Parameters",
    "merge_models",
    "merge_nets",
    "merge_parameters",
    "read_parameters",
]

#: Of which piece beside a cut a merged model can have the dual layers.
DUAL_SOURCES = ("lower", "upper")


class Merged(NamedTuple):
    """A chain's pieces as one net.

    Attributes:
        net: The NetParameter: net1's layers, then net2's, and so on, each in their own order.
        left_out: Of each piece, numbers of the layers in its prototxt that only served the exchange
            with the piece above.
        names: Of each piece, its blobs that have another name in the net, to that name.
    """

    net: Any
    left_out: list[set[int]]
    names: list[dict[str, str]]


def merge_nets(
    paths: Sequence[str], cuts: Sequence[Cut], name: str, stored: Optional[Container[str]] = None
) -> Merged:
    """The single net in both phases.

    The last two pieces are joined first: what comes of them has the names of the lower one, and so
    is what the next lower one was once cut from.

    Args:
        paths: The train_test prototxt of each piece, from the data to the loss.
        cuts: Where they were cut.
        name: Of the net.
        stored: Names of the layers that hold parameters, which must be unique; default all.

    Raises:
        ConfigError: A prototxt cannot be read, does not have what a cut names, or two pieces use
            one name for different things.
    """
    nets = [read_net(path) for path in paths]
    merged, left_out, names = nets[-1], [set[int]()], [dict[str, str]()]
    for number in reversed(range(len(cuts))):
        cut, ends = cuts[number], (paths[number], paths[number + 1])
        take_out(merged)
        lower, only_exchanged = _lower(nets[number], cut)
        renamed = _renamed(nets[number], merged, cut, ends[1])
        upper = _upper(merged, cut, renamed)
        _check_names(lower, upper, cut, *ends, stored)
        merged = caffe_pb2.NetParameter()
        merged.CopyFrom(nets[number])  # its state and whatever else stands outside the layers
        merged.name = name
        del merged.layer[:]
        merged.layer.extend(lower)
        merged.layer.extend(upper)
        left_out.insert(0, only_exchanged)
        names = [{}, *(_over(renamed, above) for above in names)]
    return Merged(merged, left_out, names)


def _over(lower: Mapping[str, str], upper: Mapping[str, str]) -> dict[str, str]:
    """First the one renaming, then the other."""
    return {**lower, **{blob: lower.get(name, name) for blob, name in upper.items()}}


def _up(cut: Cut) -> set[str]:
    """The blobs that the lower piece sends up."""
    return {*cut.blobs, *cut.labels}


def _down(cut: Cut) -> set[str]:
    """The inputs of the lower piece that the upper one sends."""
    return set(cut.pairs.values())


def _lower(net: Any, cut: Cut) -> tuple[list[Any], set[int]]:
    """The lower piece without its dual layers and without all that depends on what comes down.

    Returns:
        The layers, and the numbers of those that are left out.
    """
    kept, left_out = [], set()
    foreign: set[str] = set()
    for number, layer in enumerate(net.layer):
        is_feed = layer.type in FEEDS and set(layer.top) & _down(cut)
        if layer.type == "Silence":
            kept += _silence(layer, foreign | _up(cut))
        elif is_feed or layer.name in cut.dual or foreign & set(layer.bottom):
            foreign |= set(layer.top)
            left_out.add(number)
        else:
            kept.append(layer)
    return kept, left_out


def _upper(net: Any, cut: Cut, names: Mapping[str, str]) -> list[Any]:
    """The upper piece without the layers that feed it, in the lower one's names."""
    originals = {copy: original for original, copy in cut.dual.items()}
    kept = []
    unused: set[str] = set()
    for layer in net.layer:
        if layer.type in FEEDS and set(layer.top) & _up(cut):
            unused |= set(layer.top) - _up(cut)
        elif layer.type == "Silence":
            kept += _silence(layer, unused)
        elif not _is_copy(layer, cut):
            renamed = caffe_pb2.LayerParameter()
            renamed.CopyFrom(layer)
            renamed.name = originals.get(layer.name, layer.name)
            renamed.bottom[:] = [names.get(blob, blob) for blob in layer.bottom]
            renamed.top[:] = [names.get(blob, blob) for blob in layer.top]
            # A second name that was there to be compared: here both names are one.
            if renamed.type != "Split" or set(renamed.top) != set(renamed.bottom):
                kept.append(renamed)
    return kept


def _silence(layer: Any, gone: Iterable[str]) -> list[Any]:
    """Drop removed blobs from a Silence layer; none if no bottom is left."""
    left = [blob for blob in layer.bottom if blob not in set(gone)]
    if not left:
        return []
    kept = caffe_pb2.LayerParameter()
    kept.CopyFrom(layer)
    kept.bottom[:] = left
    return [kept]


def _is_copy(layer: Any, cut: Cut) -> bool:
    """Whether a layer of the upper piece only gives a crossing blob a second name."""
    return (
        layer.type == "Split" and layer.bottom[0] in _up(cut) and bool(set(layer.top) & _down(cut))
    )


def _renamed(below: Any, above: Any, cut: Cut, path: str) -> dict[str, str]:
    """The upper piece's blobs: their names in the lower one, for those that have others there.

    Raises:
        ConfigError: Two blobs would get one name.
    """
    tops = {layer.name: list(layer.top) for layer in below.layer}
    # Where the lower piece needs no copy of a dual layer, blobs are called like their layers.
    originals = {copy: tops.get(name, [name]) for name, copy in cut.dual.items()}
    names = {copy: original for original, copy in cut.compared.items()}
    for layer in above.layer:
        if layer.name in originals:
            names.update(zip(layer.top, originals[layer.name]))
        elif _is_copy(layer, cut):
            names.update((top, layer.bottom[0]) for top in layer.top)
    kept = {blob for layer in above.layer for blob in (*layer.bottom, *layer.top)}
    for blob, name in names.items():
        if name in kept - set(names) - _up(cut):
            raise ConfigError(
                f"{path}: {blob} is {name} in the single net, but there is another blob "
                f"{name}; rename that one"
            )
    return names


def _check_names(
    lower: Sequence[Any],
    upper: Sequence[Any],
    cut: Cut,
    lower_path: str,
    upper_path: str,
    stored: Optional[Container[str]],
) -> None:
    """Each name must stand for one thing, and the lower piece must make what the upper takes.

    Raises:
        ConfigError: It does not.
    """
    made = {top for layer in lower for top in layer.top}
    for blob in _up(cut):
        if blob not in made:
            raise ConfigError(f"{lower_path}: no layer makes {blob}, which the cut sends up")
    shared = {layer.name for layer in lower} & {layer.name for layer in upper}
    if stored is not None:
        shared = {name for name in shared if name in stored}
    if shared:
        raise ConfigError(
            f"{upper_path}: layer {min(shared)} is in {lower_path}, too, and a caffemodel knows "
            "layers by name; rename one and its parameters with it"
        )
    again = (made - _up(cut)) & {top for layer in upper for top in layer.top}
    if again:
        raise ConfigError(
            f"{upper_path}: blob {min(again)} is in {lower_path}, too, and does not cross the cut; "
            "rename one"
        )


#: Layer's name to its parameters, BlobProtos.
Parameters = dict[str, list[Any]]


def read_parameters(path: str) -> Parameters:
    """The parameters in a caffemodel, by name of their layer; layers without any are left out.

    Raises:
        ConfigError: It cannot be read.
    """
    net = caffe_pb2.NetParameter()
    try:
        with open(path, "rb", opener=regular_only) as file:
            net.ParseFromString(file.read())
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the caffemodel: {error.strerror}") from error
    except DecodeError as error:
        raise ConfigError(
            f"{path}: not a caffemodel ({error}); merge another --iteration"
        ) from error
    return {layer.name: list(layer.blobs) for layer in net.layer if layer.blobs}


def merge_parameters(
    pieces: Sequence[Parameters], duals: Sequence[Mapping[str, str]], dual_source: str
) -> Parameters:
    """The parameters of the single net.

    Args:
        pieces: What `read_parameters` returned for each piece, from the data to the loss.
        duals: Of each cut, the lower piece's dual layers to their copies.
        dual_source: Whose dual layers to take, one of `DUAL_SOURCES`.
    """
    merged = dict(pieces[-1])
    for lower, dual in zip(reversed(pieces[:-1]), reversed(duals)):
        upper, merged = merged, {**lower, **merged}
        for original, copy in dual.items():
            found = lower.get(original) if dual_source == "lower" else upper.get(copy)
            merged.pop(original, None)
            if copy not in dual:
                merged.pop(copy, None)
            if found:
                merged[original] = found
    return merged


def merge_models(
    merged: Any, parameters: Mapping[str, Sequence[Any]], state: Optional[Any] = None
) -> Any:
    """The merged net's caffemodel.

    Args:
        merged: The net that `merge_nets` returned.
        parameters: What `merge_parameters` returned.
        state: The NetState that the solver adds in training.

    Returns:
        A NetParameter of the layers in phase TRAIN with their parameters, as Caffe's snapshots are.
    """
    left = dict(parameters)
    model = caffe_pb2.NetParameter(name=merged.name)
    for layer in NetGraph(merged, "TRAIN", "merged net", state).layers:
        stored = model.layer.add()
        stored.CopyFrom(layer)
        stored.phase = caffe_pb2.TRAIN
        stored.blobs.extend(left.pop(layer.name, []))
    return model
