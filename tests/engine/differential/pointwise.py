"""Neurons, scalings, normalisations and sums: layers whose top has the shape of bottom 0."""

from __future__ import annotations

import math

from tests.engine.differential.writer import Value, Writer

__all__ = ["POINTWISE"]

#: Types with the number of settings to draw, each with its range, and whether BVLC Caffe gets their
#: gradient right in place.
NEURONS = {
    "AbsVal": ("", False),
    "BNLL": ("", False),
    "Clip": ("clip_param {{ min: {a} max: 0.8 }}", False),
    "ELU": ("elu_param {{ alpha: {b} }}", True),
    "Exp": ("exp_param {{ base: {c} scale: {a} shift: {a} }}", True),
    "Log": ("log_param {{ scale: 0.01 shift: 3 }}", False),
    "PReLU": ("prelu_param {{ channel_shared: {yes} filler {{ type: 'gaussian' }} }}", True),
    "Power": ("power_param {{ power: {p} scale: 0.05 shift: 3 }}", False),
    "ReLU": ("relu_param {{ negative_slope: {slope} }}", True),
    "Sigmoid": ("", True),
    "Swish": ("swish_param {{ beta: {b} }}", True),
    "TanH": ("", True),
}


def neuron(writer: Writer, x: Value) -> bool:
    """One of the element-wise functions, often in place."""
    kind = writer.one_of([*NEURONS, "ReLU", "ReLU", "Sigmoid", "TanH"])
    if kind == "PReLU" and not 2 <= len(x.shape) <= 4:
        return False
    body, fits = NEURONS[kind]
    body = body.format(
        a=writer.real(-0.9, -0.1),
        b=writer.real(0.2, 1.5),
        c=writer.one_of(["-1", "2", "1.3"]),
        p=writer.one_of(["0", "1", "2", "0.5", "-1.5"]),
        slope=writer.one_of(["0", "0", "0.1"]),
        yes=writer.one_of(["true", "false"]),
    )
    writer.layer(kind, [x], [x.shape], body, in_place=fits and writer.chance(0.5))
    return True


def dropout(writer: Writer, x: Value) -> bool:
    """Dropout without chance: the providers draw different numbers."""
    ratio = writer.real(0.1, 0.9) if writer.phase == 1 else 0
    writer.layer("Dropout", [x], [x.shape], f"dropout_param {{ dropout_ratio: {ratio} }}",
                 in_place=writer.chance(0.5))  # fmt: skip
    return True


def scale(writer: Writer, x: Value) -> bool:
    """Scale or Bias with parameters, or with a second bottom."""
    kind = writer.one_of(["Scale", "Scale", "Bias"])
    axis = writer.pick(0, len(x.shape) - 1)
    axes = writer.pick(0, len(x.shape) - axis)
    shape = x.shape[axis : axis + axes]
    word = kind.lower()
    # Where one coefficient serves one value or one run of values, BVLC's Scale overwrites the
    # gradient that other passes and other layers left.
    alone = math.prod(x.shape[:axis]) == 1
    writer.once |= alone
    # In place, its backward pass overwrites the input that it kept.
    in_place = writer.chance(0.4)
    writer.once |= in_place
    if writer.chance(0.3) and shape:
        factor = next((v for v in writer.pool if v.shape == shape and v is not x), None)
        factor = factor or writer.given(shape)
        # The factor's place among the axes must not follow from its own number of axes.
        writer.layer(kind, [x, factor], [x.shape], f"{word}_param {{ axis: {axis} }}")
        return True
    params, bias = "" if alone else writer.params(shape), ""
    if kind == "Scale" and writer.chance(0.4):
        bias = 'bias_term: true bias_filler { type: "gaussian" }'
    writer.layer(kind, [x], [x.shape], f"{word}_param {{ axis: {axis} num_axes: {axes} filler {{ "
                 f'type: "gaussian" std: 0.7 }} {bias} }} {params}',
                 in_place=in_place)  # fmt: skip
    return True


def batch_norm(writer: Writer, x: Value) -> bool:
    """Batch normalisation, over its own or over stored statistics."""
    if len(x.shape) < 2 or x.shape[0] < 2:
        return False
    words = ""
    if writer.chance(0.3):
        words = f"use_global_stats: {writer.one_of(['true', 'false'])}"
    writer.layer("BatchNorm", [x], [x.shape], f"batch_norm_param {{ eps: {writer.real(0.01, 1)} "
                 f"{words} }}", in_place=writer.chance(0.4))  # fmt: skip
    return True


def mvn(writer: Writer, x: Value) -> bool:
    """Mean and variance normalisation."""
    if len(x.shape) not in (2, 3, 4):
        return False
    variance, across = writer.chance(0.7), writer.chance(0.5)
    rest = 1
    for size in x.shape[1 if across else 2 :]:
        rest *= size
    if rest < 4:
        return False  # nearly 0 / 0
    shape = (*x.shape, 1, 1)[:4]  # always four axes
    writer.layer("MVN", [x], [shape], f"mvn_param {{ normalize_variance: {str(variance).lower()} "
                 f"across_channels: {str(across).lower()} eps: {writer.real(0.01, 0.5)} }}",
                 )  # fmt: skip
    return True


def softmax(writer: Writer, x: Value) -> bool:
    """Softmax over any axis."""
    axis = writer.pick(0, len(x.shape) - 1)
    writer.layer("Softmax", [x], [x.shape], f"softmax_param {{ axis: {axis} }}")
    return True


def eltwise(writer: Writer, x: Value) -> bool:
    """Sums, products and maxima of two or three blobs."""
    others = [v for v in writer.pool if v.shape == x.shape and v is not x]
    if not others:
        others = [writer.given(x.shape)]
    bottoms = [x] + [others[writer.pick(0, len(others) - 1)] for _ in range(writer.pick(1, 2))]
    operation = writer.one_of(["SUM", "PROD", "MAX"])
    words = f"operation: {operation}"
    if operation == "SUM" and writer.chance(0.5):
        words += "".join(f" coeff: {writer.real(-1.5, 1.5)}" for _ in bottoms)
    if operation == "PROD" and writer.chance(0.3):
        words += " stable_prod_grad: true"
    writer.layer("Eltwise", bottoms, [x.shape], f"eltwise_param {{ {words} }}")
    return True


POINTWISE = [neuron, neuron, neuron, dropout, scale, scale, batch_norm, mvn, softmax, eltwise]
