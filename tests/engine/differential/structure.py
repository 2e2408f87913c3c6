"""Layers that reshape, cut, join, choose and reduce; products; sequences."""

from __future__ import annotations

import math

from tests.engine.differential.writer import Value, Writer

__all__ = ["STRUCTURE"]

FILL = 'weight_filler { type: "xavier" } bias_filler { type: "gaussian" std: 0.2 }'


def inner_product(writer: Writer, x: Value) -> bool:
    """A product with a matrix, from any axis on."""
    axis = writer.pick(1, len(x.shape) - 1) if len(x.shape) > 1 else 0
    width, outputs = math.prod(x.shape[axis:]), writer.pick(1, 6)
    if width > 400:
        return False
    transpose, bias = writer.chance(0.3), writer.chance(0.8)
    weight = (width, outputs) if transpose else (outputs, width)
    shapes = [weight] + ([(outputs,)] if bias else [])
    writer.layer("InnerProduct", [x], [(*x.shape[:axis], outputs)],
                 f"inner_product_param {{ num_output: {outputs} axis: {axis} transpose: "
                 f"{str(transpose).lower()} bias_term: {str(bias).lower()} {FILL} }} "
                 f"{writer.params(*shapes)}")  # fmt: skip
    return True


def flatten(writer: Writer, x: Value) -> bool:
    """Several axes made one; the memory is shared."""
    if x.lent:
        return False
    axis = writer.pick(0, len(x.shape) - 1)
    end = writer.pick(axis, len(x.shape) - 1)
    shape = (*x.shape[:axis], math.prod(x.shape[axis : end + 1]), *x.shape[end + 1 :])
    writer.layer("Flatten", [x], [shape], f"flatten_param {{ axis: {axis} end_axis: {end} }}")
    return True


def reshape(writer: Writer, x: Value) -> bool:
    """New axes with an inferred one; the memory is shared."""
    if len(x.shape) > 4:
        return False
    count = math.prod(x.shape)
    first = writer.divisor(count)
    if first > 40 or count // first > 40:
        return False
    writer.layer("Reshape", [x], [(first, count // first)],
                 f"reshape_param {{ shape {{ dim: {first} dim: -1 }} }}")  # fmt: skip
    return True


def cut(writer: Writer, x: Value) -> bool:
    """Slice along an axis."""
    axis = writer.pick(0, len(x.shape) - 1)
    size = x.shape[axis]
    pieces = writer.pick(1, min(3, size))
    if pieces == 1 and x.lent:  # one piece is lent on, as by Flatten
        return False
    points = sorted(1 + int(p) for p in writer.draw.permutation(size - 1)[: pieces - 1])
    shapes = [
        (*x.shape[:axis], high - low, *x.shape[axis + 1 :])
        for low, high in zip([0, *points], [*points, size])
    ]
    words = " ".join(f"slice_point: {p}" for p in points)
    writer.layer("Slice", [x], shapes, f"slice_param {{ axis: {axis} {words} }}")
    return True


def concat(writer: Writer, x: Value) -> bool:
    """Joins blobs that agree in all other axes."""
    axis = writer.pick(0, len(x.shape) - 1)
    rest = x.shape[:axis] + x.shape[axis + 1 :]
    fits = [
        v for v in writer.pool
        if len(v.shape) == len(x.shape) and v.shape[:axis] + v.shape[axis + 1 :] == rest
    ]  # fmt: skip
    bottoms = [x] + [fits[writer.pick(0, len(fits) - 1)] for _ in range(writer.pick(0, 2))]
    size = sum(v.shape[axis] for v in bottoms)
    if size > 40 or (len(bottoms) == 1 and x.lent):  # one bottom is lent on, as by Flatten
        return False
    shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
    writer.layer("Concat", bottoms, [shape], f"concat_param {{ axis: {axis} }}")
    return True


def tile(writer: Writer, x: Value) -> bool:
    """Repeats along an axis."""
    axis, tiles = writer.pick(0, len(x.shape) - 1), writer.pick(1, 3)
    if x.shape[axis] * tiles > 24:
        return False
    shape = (*x.shape[:axis], x.shape[axis] * tiles, *x.shape[axis + 1 :])
    writer.layer("Tile", [x], [shape], f"tile_param {{ axis: {axis} tiles: {tiles} }}")
    return True


def reduction(writer: Writer, x: Value) -> bool:
    """Sums over the last axes."""
    axis = writer.pick(1, len(x.shape) - 1) if len(x.shape) > 1 else 0
    if axis == 0:
        return False
    operation = writer.one_of(["SUM", "ASUM", "SUMSQ", "MEAN"])
    writer.layer("Reduction", [x], [x.shape[:axis]], f"reduction_param {{ operation: {operation} "
                 f"axis: {axis} coeff: {writer.real(0.1, 1)} }}")  # fmt: skip
    return True


def embed(writer: Writer, x: Value) -> bool:
    """Vectors of words; the words are an input of their own."""
    if writer.force:
        return False
    words, width, known = (writer.pick(1, 4), writer.pick(1, 3)), writer.pick(1, 5), 6
    given = writer.given(words, below=known)
    writer.layer("Embed", [given], [(*words, width)],
                 f"embed_param {{ num_output: {width} input_dim: {known} {FILL} }} "
                 f"{writer.params((known, width), (width,))}", weighable=False)  # fmt: skip
    return True


def batch_reindex(writer: Writer, x: Value) -> bool:
    """Chooses rows, some of them several times."""
    if writer.force:
        return False
    rows = writer.pick(1, 5)
    index = writer.given((rows,), below=x.shape[0])
    writer.layer("BatchReindex", [x, index], [(rows, *x.shape[1:])])
    return True


def argmax(writer: Writer, x: Value) -> bool:
    """The places of the largest values; not read further, because they have no gradient."""
    if writer.force or len(x.shape) < 2:
        return False
    axis = writer.pick(1, len(x.shape) - 1)
    best = writer.pick(1, x.shape[axis])
    shape = (*x.shape[:axis], best, *x.shape[axis + 1 :])
    writer.layer("ArgMax", [x], [shape], f"argmax_param {{ axis: {axis} top_k: {best} }}",
                 keep=0, weighable=False)  # fmt: skip
    return True


def threshold(writer: Writer, x: Value) -> bool:
    """One bit a value; not read further, because it has no gradient."""
    if writer.force:
        return False
    writer.layer("Threshold", [x], [x.shape], "threshold_param { threshold: 0.2 }",
                 keep=0, weighable=False)  # fmt: skip
    return True


def silence(writer: Writer, x: Value) -> bool:
    """Nothing at all."""
    writer.layer("Silence", [x], [], weighable=False)
    return True


def parameter(writer: Writer, x: Value) -> bool:
    """A blob that is learned, added to another."""
    dims = " ".join(f"dim: {d}" for d in x.shape)
    (learned,) = writer.layer("Parameter", [], [x.shape],
                              f"parameter_param {{ shape {{ {dims} }} }}")  # fmt: skip
    writer.layer("Eltwise", [x, learned], [x.shape])
    return True


def recurrent(writer: Writer, x: Value) -> bool:
    """A sequence through LSTM or RNN."""
    if len(x.shape) not in (3, 4) or x.shape[0] > 6 or math.prod(x.shape[2:]) > 60:
        return False
    kind, width = writer.one_of(["LSTM", "RNN"]), writer.pick(1, 4)
    cont = writer.given(x.shape[:2], below=2)
    writer.layer(kind, [x, cont], [(*x.shape[:2], width)],
                 f"recurrent_param {{ num_output: {width} {FILL} }}")  # fmt: skip
    return True


STRUCTURE = [
    inner_product, inner_product, inner_product, flatten, reshape, cut, cut, concat, concat, tile,
    reduction, embed, batch_reindex, argmax, threshold, silence, parameter, recurrent,
]  # fmt: skip
