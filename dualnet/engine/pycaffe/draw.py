"""Drawings of nets (pycaffe's `python/caffe/draw.py`); needs pydot, and graphviz for the image."""

from __future__ import annotations

from typing import Any

from dualnet.engine.errors import DataError
from dualnet.engine.proto import caffe_pb2

__all__ = [
    "BLOB_STYLE",
    "LAYER_STYLE_DEFAULT",
    "NEURON_LAYER_STYLE",
    "choose_color_by_layertype",
    "draw_net",
    "draw_net_to_file",
    "get_edge_label",
    "get_layer_label",
    "get_layer_lr_mult",
    "get_pooling_types_dict",
    "get_pydot_graph",
]

LAYER_STYLE_DEFAULT = {"shape": "record", "fillcolor": "#6495ED", "style": "filled"}
#: Layers that compute in place, activations above all.
NEURON_LAYER_STYLE = {"shape": "record", "fillcolor": "#90EE90", "style": "filled"}
BLOB_STYLE = {"shape": "octagon", "fillcolor": "#E0E0E0", "style": "filled"}

_COLORS = {
    "Convolution": "#FF5050",
    "Deconvolution": "#FF5050",
    "Pooling": "#FF9900",
    "InnerProduct": "#CC33FF",
}
_EMPTY = '""'  # pydot writes labels as they are


def get_pooling_types_dict() -> dict[int, str]:
    """The names of the pooling methods by number."""
    return {value: name for name, value in caffe_pb2.PoolingParameter.PoolMethod.items()}


def get_edge_label(layer: caffe_pb2.LayerParameter) -> str:
    """The label of a layer's outgoing edges: the batch size or the number of outputs."""
    if layer.type == "Data":
        return f"Batch {layer.data_param.batch_size}"
    if layer.type in ("Convolution", "Deconvolution"):
        return str(layer.convolution_param.num_output)
    if layer.type == "InnerProduct":
        return str(layer.inner_product_param.num_output)
    return _EMPTY


def get_layer_lr_mult(layer: caffe_pb2.LayerParameter) -> float:
    """The learning-rate multiplier of a layer's first parameter, 1 by default."""
    return float(layer.param[0].lr_mult) if layer.param else 1.0


def get_layer_label(
    layer: caffe_pb2.LayerParameter, rankdir: str, display_lrm: bool = False
) -> str:
    """The label of a layer's node, in quotes.

    Args:
        layer: the layer.
        rankdir: `TB`, `BT`, `LR` or `RL`; the last two break lines.
        display_lrm: adds the learning-rate multiplier of layers with weights.
    """
    weighted = layer.type in ("Convolution", "Deconvolution", "InnerProduct")
    parts = [f"{layer.name}"]
    if display_lrm and weighted:
        parts.append(f"(lr mult: {get_layer_lr_mult(layer):g})")
    if layer.type in ("Convolution", "Deconvolution"):
        param = layer.convolution_param
        kernel, stride, pad = (
            _first(param.kernel_size, 1), _first(param.stride, 1), _first(param.pad, 0)
        )  # fmt: skip
        parts += [f"({layer.type})", f"kernel size: {kernel}", f"stride: {stride}", f"pad: {pad}"]
    elif layer.type == "Pooling":
        pooling = layer.pooling_param
        method = get_pooling_types_dict()[pooling.pool]
        parts += [
            f"({method} {layer.type})",
            f"kernel size: {pooling.kernel_size}",
            f"stride: {pooling.stride}",
            f"pad: {pooling.pad}",
        ]
    else:
        parts.append(f"({layer.type})")
    separator = " " if rankdir in ("TB", "BT") else "\\n"
    return '"' + separator.join(parts) + '"'


def choose_color_by_layertype(layertype: str) -> str:
    """The fill colour of a layer type."""
    return _COLORS.get(layertype, LAYER_STYLE_DEFAULT["fillcolor"])


def get_pydot_graph(
    caffe_net: caffe_pb2.NetParameter,
    rankdir: str,
    label_edges: bool = True,
    phase: int | None = None,
    display_lrm: bool = False,
) -> Any:
    """A net as a `pydot.Dot`.

    Args:
        caffe_net: the net's message.
        rankdir: the direction: `TB`, `BT`, `LR` or `RL`.
        label_edges: writes sizes at the edges.
        phase: draws only layers of this phase; None draws all.
        display_lrm: see `get_layer_label`.

    Raises:
        DataError: pydot is not installed.
    """
    pydot = _pydot()
    name = caffe_net.name or "Net"
    graph = pydot.Dot(f'"{name}"', graph_type="digraph", rankdir=rankdir)
    nodes: dict[str, Any] = {}
    edges = []
    for layer in caffe_net.layer:
        if phase is not None and not _in_phase(layer, phase):
            continue
        key = f"{layer.name}_{layer.type}"
        in_place = len(layer.bottom) == len(layer.top) == 1 and layer.bottom[0] == layer.top[0]
        style = NEURON_LAYER_STYLE if in_place else LAYER_STYLE_DEFAULT
        if not in_place:
            style = {**style, "fillcolor": choose_color_by_layertype(layer.type)}
        # Names are quoted: they may hold what dot's syntax means otherwise, such as / and :.
        nodes[key] = pydot.Node(
            f'"{key}"', label=get_layer_label(layer, rankdir, display_lrm), **style
        )
        for blob in layer.bottom:
            nodes.setdefault(f"{blob}_blob", _blob_node(pydot, blob))
            edges.append((f"{blob}_blob", key, _EMPTY))
        for blob in layer.top:
            nodes.setdefault(f"{blob}_blob", _blob_node(pydot, blob))
            edges.append((key, f"{blob}_blob", get_edge_label(layer) if label_edges else _EMPTY))
    for node in nodes.values():
        graph.add_node(node)
    for source, target, label in edges:
        quoted = label if label == _EMPTY else f'"{label}"'
        graph.add_edge(pydot.Edge(nodes[source], nodes[target], label=quoted))
    return graph


def draw_net(
    caffe_net: caffe_pb2.NetParameter,
    rankdir: str,
    ext: str = "png",
    phase: int | None = None,
    display_lrm: bool = False,
) -> bytes:
    """A net as an image file's content.

    Args:
        caffe_net: the net's message.
        rankdir: see `get_pydot_graph`.
        ext: the format, which graphviz must know: png, svg, pdf, ...
        phase: see `get_pydot_graph`.
        display_lrm: see `get_layer_label`.

    Raises:
        DataError: pydot or graphviz is not installed.
    """
    graph = get_pydot_graph(caffe_net, rankdir, phase=phase, display_lrm=display_lrm)
    try:
        return bytes(graph.create(format=ext))
    except FileNotFoundError as error:
        raise DataError(
            "drawing nets needs graphviz's program `dot`, which is not on the PATH; install the "
            "system package graphviz, or use get_pydot_graph(...).to_string()"
        ) from error


def draw_net_to_file(
    caffe_net: caffe_pb2.NetParameter,
    filename: str,
    rankdir: str = "LR",
    phase: int | None = None,
    display_lrm: bool = False,
) -> None:
    """Draws a net into a file whose extension gives the format; see `draw_net`."""
    extension = filename[filename.rfind(".") + 1 :]
    image = draw_net(caffe_net, rankdir, extension, phase, display_lrm)
    with open(filename, "wb") as stream:
        stream.write(image)


def _blob_node(pydot: Any, blob: str) -> Any:
    return pydot.Node(f'"{blob}_blob"', label=f'"{blob}"', **BLOB_STYLE)


def _in_phase(layer: caffe_pb2.LayerParameter, phase: int) -> bool:
    if layer.include:
        return any(rule.phase == phase or not rule.HasField("phase") for rule in layer.include)
    return not any(rule.phase == phase and rule.HasField("phase") for rule in layer.exclude)


def _first(values: Any, default: int) -> int:
    return values[0] if len(values) else default


def _pydot() -> Any:
    try:
        import pydot  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as error:
        raise DataError("drawing nets needs the package pydot; install it with pip") from error
    return pydot
