"""The single net back from both halves: one prototxt and one caffemodel for any Caffe.

net1 gives its layers up to the cut, net2 all of its own; layers that exist only for the
exchange are removed: those that feed it, net1's loss on the dual layers, and one copy of those.
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
from dualnet.engine.formats.regular_file import regular_only
from dualnet.errors import ConfigError

__all__ = [
    "DUAL_SOURCES",
    "Joint",
    "Parameters",
    "merge_models",
    "merge_nets",
    "merge_parameters",
    "read_parameters",
]

#: Whose dual layers a merged model can have.
DUAL_SOURCES = ("net1", "net2")
#: Layers that put an exchanged blob into a half.
_FEEDS = ("MemoryData", "Input")


class Joint(NamedTuple):
    """Both halves as one net.

    Attributes:
        net: The NetParameter: net1's layers, then net2's, each in their own order.
        left_out: Numbers of net1's layers, in its prototxt, that served the exchange alone.
        names: net2's blobs that have another name in it, to that name.
    """

    net: Any
    left_out: set[int]
    names: dict[str, str]


def merge_nets(
    net1_path: str,
    net2_path: str,
    cut: Cut,
    name: str,
    stored: Optional[Container[str]] = None,
) -> Joint:
    """The single net in both phases.

    Args:
        net1_path: net1's train_test prototxt.
        net2_path: net2's.
        cut: Where they were cut.
        name: Of the net.
        stored: Names of the layers that hold parameters, which must be unique; default all.

    Raises:
        ConfigError: A prototxt cannot be read, does not have what `cut` names, or both halves use
            one name for different things.
    """
    net1, net2 = read_net(net1_path), read_net(net2_path)
    take_out(net2)
    lower, left_out = _lower(net1, cut)
    names = _renamed(net1, net2, cut, net2_path)
    upper = _upper(net2, cut, names)
    _check_names(lower, upper, cut, net1_path, net2_path, stored)
    merged = caffe_pb2.NetParameter()
    merged.CopyFrom(net1)  # its state and whatever else stands outside the layers
    merged.name = name
    del merged.layer[:]
    merged.layer.extend(lower)
    merged.layer.extend(upper)
    return Joint(merged, left_out, names)


def _up(cut: Cut) -> set[str]:
    """The blobs that net1 sends to net2."""
    return {*cut.blobs, *cut.labels}


def _down(cut: Cut) -> set[str]:
    """The inputs of net1 that net2 sends."""
    return set(cut.compared.values()) or {list(cut.dual.values())[-1]}


def _lower(net1: Any, cut: Cut) -> tuple[list[Any], set[int]]:
    """net1 without its dual layers and without all that depends on what net2 sends.

    Returns:
        The layers, and the numbers of those that are left out.
    """
    kept, left_out = [], set()
    foreign: set[str] = set()
    for number, layer in enumerate(net1.layer):
        is_feed = layer.type in _FEEDS and set(layer.top) & _down(cut)
        if layer.type == "Silence":
            kept += _silence(layer, foreign | _up(cut))
        elif is_feed or layer.name in cut.dual or foreign & set(layer.bottom):
            foreign |= set(layer.top)
            left_out.add(number)
        else:
            kept.append(layer)
    return kept, left_out


def _upper(net2: Any, cut: Cut, names: Mapping[str, str]) -> list[Any]:
    """net2 without the layers that feed it, in the single net's names."""
    originals = {copy: original for original, copy in cut.dual.items()}
    kept = []
    unused: set[str] = set()
    for layer in net2.layer:
        if layer.type in _FEEDS and set(layer.top) & _up(cut):
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
    """Whether a layer of net2 only gives an exchanged blob a second name, to be compared."""
    return (
        layer.type == "Split" and layer.bottom[0] in _up(cut) and bool(set(layer.top) & _down(cut))
    )


def _renamed(net1: Any, net2: Any, cut: Cut, net2_path: str) -> dict[str, str]:
    """net2's blob: its name in the single net, for those that have another there.

    Raises:
        ConfigError: Two blobs would get one name.
    """
    tops = {layer.name: list(layer.top) for layer in net1.layer}
    # Where net1 needs no copy of a dual layer, blobs are called like their layers.
    originals = {copy: tops.get(name, [name]) for name, copy in cut.dual.items()}
    names = {copy: original for original, copy in cut.compared.items()}
    for layer in net2.layer:
        if layer.name in originals:
            names.update(zip(layer.top, originals[layer.name]))
        elif _is_copy(layer, cut):
            names.update((top, layer.bottom[0]) for top in layer.top)
    kept = {blob for layer in net2.layer for blob in (*layer.bottom, *layer.top)}
    for blob, name in names.items():
        if name in kept - set(names) - _up(cut):
            raise ConfigError(
                f"{net2_path}: {blob} is {name} in the single net, but there is another blob "
                f"{name}; rename that one"
            )
    return names


def _check_names(
    lower: Sequence[Any],
    upper: Sequence[Any],
    cut: Cut,
    net1_path: str,
    net2_path: str,
    stored: Optional[Container[str]],
) -> None:
    """Each name must stand for one thing, and net1 must make what net2 takes.

    Raises:
        ConfigError: It does not.
    """
    made = {top for layer in lower for top in layer.top}
    for blob in _up(cut):
        if blob not in made:
            raise ConfigError(f"{net1_path}: no layer makes {blob}, which cut sends to net2")
    shared = {layer.name for layer in lower} & {layer.name for layer in upper}
    if stored is not None:
        shared = {name for name in shared if name in stored}
    if shared:
        raise ConfigError(
            f"{net2_path}: layer {min(shared)} is in {net1_path}, too, and a caffemodel knows "
            "layers by name; rename one and its parameters with it"
        )
    again = (made - _up(cut)) & {top for layer in upper for top in layer.top}
    if again:
        raise ConfigError(
            f"{net2_path}: blob {min(again)} is in {net1_path}, too, and does not cross the cut; "
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
    halves: Mapping[str, Parameters], dual: Mapping[str, str], dual_source: str
) -> Parameters:
    """The parameters of the single net.

    Args:
        halves: `net1` and `net2`: what `read_parameters` returned for each.
        dual: net1's dual layers: their copies in net2.
        dual_source: Whose dual layers to take, one of `DUAL_SOURCES`.
    """
    merged = {**halves["net1"], **halves["net2"]}
    for original, copy in dual.items():
        name = original if dual_source == "net1" else copy
        found = halves[dual_source].get(name, [])
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
