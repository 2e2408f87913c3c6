"""The gradient at a piece's inputs, on exactly the paths that lead there.

Caffe computes no gradient of a blob if no layer upstream of it learns, and an Input does not learn.
Its `force_backward` would ask for every gradient of the net: of the labels, which losses that users
wrote refuse, and where a `propagate_down: false` of theirs forbids it (net.cpp). So a layer that
counts as one that learns is put after the input: BatchNorm by stored statistics, which are those
that it is built with (mean 0, variance 0 and eps 1), has parameters, changes no bit of what passes
it either way, and never changes itself (batch_norm_layer.cpp). After it Caffe decides as in the
single net, which has layers that learn before the cut.

Where all that reads the input learns by itself, `propagate_down: true` on that layer is enough.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Optional

from dualnet.backend import caffe_pb2
from dualnet.cut.graph import NetGraph
from dualnet.cut.upstream import FEEDS, upstream_layers

__all__ = ["ask_for", "take_out"]

#: What the names of the layers that are put in, and of their tops, end with.
_ENDING = "~gradient"

#: Layers that always have parameters. Of others, users' own among them, the text does not say.
_LEARNERS = ("Convolution", "Deconvolution", "InnerProduct", "PReLU", "LSTM", "RNN", "Embed")


def ask_for(
    net: Any,
    train: NetGraph,
    test: NetGraph,
    inputs: Collection[str],
    compared: Iterable[str],
    are_sent: bool,
) -> bool:
    """Have Caffe compute the gradients that the piece below needs.

    Args:
        net: The piece above the cut, changed in place where it has to be.
        train, test: Its layers in each phase; out of date once it was changed.
        inputs: The cut blobs.
        compared: Blobs whose gradient is needed.
        are_sent: Whether that of the inputs themselves is needed.

    Returns:
        Whether the net was changed.
    """
    wanted = [blob for blob in compared if not _has_learner_upstream(train, blob)]
    changed = False
    added: list[tuple[Any, Any]] = []
    for blob in inputs:
        readers = [layer for layer in train.layers if blob in layer.bottom]
        # Layers that lead from here to what is compared.
        needing = {
            place
            for one in wanted
            for place in upstream_layers(train, [one])
            if blob in train.layers[place].bottom
        }
        is_wanted = are_sent or blob in wanted
        if not is_wanted and not needing:
            continue
        changed = True
        if not needing and blob not in wanted and len(readers) == 1 and _takes_it_alone(readers[0]):
            readers[0].propagate_down[:] = [True]
        elif _has_one_axis(train, blob):
            net.force_backward = True  # BVLC's BatchNorm wants channels
        else:
            chosen = None if is_wanted else [train.layers[place] for place in sorted(needing)]
            added += _lead_through(net, train, test, blob, chosen, is_wanted)
    # All at once, and last: it replaces the layers that the graphs know.
    _insert(net, added)
    return changed


def take_out(net: Any) -> None:
    """Undo `ask_for` but for `propagate_down`: the net as it was written."""
    names = {layer.top[0]: layer.bottom[0] for layer in net.layer if _is_put_in(layer)}
    kept = [layer for layer in net.layer if not _is_put_in(layer)]
    for layer in kept:
        layer.bottom[:] = [names.get(blob, blob) for blob in layer.bottom]
        layer.top[:] = [names.get(blob, blob) for blob in layer.top]
    if names:
        layers = [type(layer).FromString(layer.SerializeToString()) for layer in kept]
        del net.layer[:]
        net.layer.extend(layers)


def _is_put_in(layer: Any) -> bool:
    return bool(layer.type == "BatchNorm" and layer.name.endswith(_ENDING))


def _has_learner_upstream(train: NetGraph, blob: str) -> bool:
    """Whether Caffe computes a blob's gradient because an upstream layer learns."""
    return any(_learns(train.layers[place]) for place in upstream_layers(train, [blob]))


def _learns(layer: Any) -> bool:
    rates = [spec.lr_mult for spec in layer.param]
    # Weights come first, then biases, which have a rate of 1 if none is given.
    return layer.type in _LEARNERS and (not rates or any(rates))


def _takes_it_alone(layer: Any) -> bool:
    return len(layer.bottom) == 1 and not layer.propagate_down and _learns(layer)


def _has_one_axis(train: NetGraph, blob: str) -> bool:
    feed = train.producers[blob][0]
    if feed.type != "Input" or not feed.input_param.shape:
        return False
    shapes = list(feed.input_param.shape)
    return len(shapes[list(feed.top).index(blob) if len(shapes) > 1 else 0].dim) < 2


def _lead_through(
    net: Any,
    train: NetGraph,
    test: NetGraph,
    blob: str,
    chosen: Optional[list[Any]],
    is_wanted: bool,
) -> list[tuple[Any, Any]]:
    """Let some readers of an input, or with None all, read the layer that is put after it.

    Returns:
        Each layer that feeds the input, with the one to insert after it.
    """
    top = f"{blob}{_ENDING}"
    readers = [layer for layer in net.layer if blob in layer.bottom and layer.type not in FEEDS]
    if chosen is None or any(blob in layer.top for layer in readers):
        chosen = readers  # those that work in place would change what others read, too
    is_tested = any(_has(test, layer) for layer in chosen)
    inserted = []
    for layer in net.layer:
        if any(layer is one for one in chosen):
            layer.bottom[:] = [top if name == blob else name for name in layer.bottom]
            layer.top[:] = [top if name == blob else name for name in layer.top]
        elif layer.type in FEEDS and blob in layer.top and (is_tested or _has(train, layer)):
            added = type(layer)(name=top, type="BatchNorm", bottom=[blob], top=[top])
            if is_tested:
                added.include.extend(layer.include)
                added.exclude.extend(layer.exclude)
            else:  # its top would be an output of tests
                added.include.add(phase=caffe_pb2.TRAIN)
            if is_wanted:
                added.propagate_down.append(True)
            added.batch_norm_param.use_global_stats = True
            added.batch_norm_param.eps = 1
            inserted.append((layer, added))
    return inserted


def _insert(net: Any, added: Sequence[tuple[Any, Any]]) -> None:
    """Insert each new layer after the one that it belongs to."""
    if not added:
        return
    layers = []
    for layer in net.layer:
        layers += [layer, *(new for feed, new in added if feed is layer)]
    copies = [type(layer).FromString(layer.SerializeToString()) for layer in layers]
    del net.layer[:]
    net.layer.extend(copies)


def _has(graph: NetGraph, layer: Any) -> bool:
    return any(layer is one for one in graph.layers)
