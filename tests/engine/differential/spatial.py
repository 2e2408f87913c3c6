"""Layers over windows of images: convolutions, pools, normalisations."""

from __future__ import annotations

from tests.engine.differential.writer import Value, Writer

__all__ = ["SPATIAL"]

FILL = 'weight_filler { type: "xavier" } bias_filler { type: "gaussian" std: 0.2 }'


def _window(size: int, kernel: int, pad: int, stride: int, dilation: int = 1) -> int:
    return (size + 2 * pad - (dilation * (kernel - 1) + 1)) // stride + 1


def _pair(writer: Writer, sizes: tuple[int, ...], most: int) -> tuple[list[int], list[int], bool]:
    """Kernel and padding along each axis, and whether they are equal along all."""
    square = writer.chance(0.6)
    kernels, pads = [], []
    for size in sizes:
        pads.append(writer.pick(0, 2))
        kernels.append(writer.pick(1, max(1, min(most, size + 2 * pads[-1]))))
    if square:
        kernels, pads = [min(kernels)] * len(sizes), [min(pads)] * len(sizes)
        kernels = [max(1, min(k, min(sizes) + 2 * p)) for k, p in zip(kernels, pads)]
    return kernels, pads, square


def convolution(writer: Writer, x: Value) -> bool:
    """Convolution over one to three axes, or Deconvolution."""
    if not 3 <= len(x.shape) <= 5 or max(x.shape) > 24:
        return False
    channels, sizes = x.shape[1], x.shape[2:]
    group = writer.divisor(channels)
    outputs = group * writer.pick(1, 3)
    kernels, pads, square = _pair(writer, sizes, 4)
    stride, dilation = writer.pick(1, 3), writer.pick(1, 2)
    up = writer.chance(0.25)
    shape = []
    for size, kernel, pad in zip(sizes, kernels, pads):
        extent = dilation * (kernel - 1) + 1
        if up:
            shape.append(stride * (size - 1) + extent - 2 * pad)
        else:
            shape.append(
                _window(size, kernel, pad, stride, dilation) if size + 2 * pad >= extent else 0
            )
    if min(shape) < 1 or max(shape) > 24:
        return False
    if square:
        words = f"kernel_size: {kernels[0]} pad: {pads[0]} stride: {stride}"
    elif len(sizes) == 2:
        words = (
            f"kernel_h: {kernels[0]} kernel_w: {kernels[1]} pad_h: {pads[0]} "
            f"pad_w: {pads[1]} stride_h: {stride} stride_w: {stride}"
        )
    else:
        words = " ".join(f"kernel_size: {k} pad: {p}" for k, p in zip(kernels, pads))
        words += f" stride: {stride}"
    bias = writer.chance(0.8)
    weight = (channels, outputs // group) if up else (outputs, channels // group)
    shapes = [(*weight, *kernels)] + ([(outputs,)] if bias else [])
    writer.layer(
        "Deconvolution" if up else "Convolution", [x], [(x.shape[0], outputs, *shape)],
        f"convolution_param {{ num_output: {outputs} {words} dilation: {dilation} group: {group} "
        f"bias_term: {str(bias).lower()} {FILL} }} {writer.params(*shapes)}",
    )  # fmt: skip
    return True


def pooling(writer: Writer, x: Value) -> bool:
    """Max and average pooling in both rounding modes, with masks and over the whole image."""
    if len(x.shape) != 4:
        return False
    mode = writer.one_of(["MAX", "AVE"])
    tops = 2 if mode == "MAX" and writer.chance(0.1) and not writer.force else 1
    if writer.chance(0.1):
        shape, words = [1, 1], "global_pooling: true"
    else:
        kernels, pads, square = _pair(writer, x.shape[2:], 4)
        stride, floor = writer.pick(1, 3), writer.chance(0.3)
        if any(p >= k for p, k in zip(pads, kernels)):
            return False
        shape = []
        for size, k, p in zip(x.shape[2:], kernels, pads):
            span = size + 2 * p - k
            out = (span if floor else span + stride - 1) // stride + 1
            if any(pads) and (out - 1) * stride >= size + p:
                out -= 1
            shape.append(out)
        words = (
            f"kernel_h: {kernels[0]} kernel_w: {kernels[1]} pad_h: {pads[0]} pad_w: "
            f"{pads[1]} stride_h: {stride} stride_w: {stride}"
        )
        if square:
            words = f"kernel_size: {kernels[0]} pad: {pads[0]} stride: {stride}"
        words += " round_mode: FLOOR" if floor else ""
    full = (*x.shape[:2], *shape)
    # A mask has no gradient: it is not read further.
    writer.layer("Pooling", [x], [full] * tops, f"pooling_param {{ pool: {mode} {words} }}",
                 keep=1, weighable=tops == 1)  # fmt: skip
    return True


def lrn(writer: Writer, x: Value) -> bool:
    """Local response normalisation across and within channels."""
    if len(x.shape) != 4:
        return False
    region = writer.one_of(["ACROSS_CHANNELS", "WITHIN_CHANNEL"])
    size = 2 * writer.pick(0, 2) + 1
    if region == "WITHIN_CHANNEL" and size // 2 >= size:
        return False
    writer.layer("LRN", [x], [x.shape], f"lrn_param {{ local_size: {size} norm_region: {region} "
                 f"alpha: {writer.real(0.1, 1)} beta: {writer.real(0.3, 0.9)} k: "
                 f"{writer.real(1, 2)} }}")  # fmt: skip
    return True


def spp(writer: Writer, x: Value) -> bool:
    """Spatial pyramid pooling where the windows fit."""
    if len(x.shape) != 4:
        return False
    height = writer.pick(1, 3)
    for bins in (2**level for level in range(height)):
        for size in x.shape[2:]:
            kernel = -(-size // bins)
            if (kernel * bins - size + 1) // 2 >= kernel:
                return False
    cells = sum(4**level for level in range(height))
    mode = writer.one_of(["MAX", "AVE"])
    shape = x.shape if height == 1 else (x.shape[0], x.shape[1] * cells)
    if height == 1:
        return False  # its top keeps the axes of the one pool
    writer.layer("SPP", [x], [shape], f"spp_param {{ pyramid_height: {height} pool: {mode} }}")
    return True


def im2col(writer: Writer, x: Value) -> bool:
    """The columns that a convolution would multiply."""
    if len(x.shape) != 4 or x.shape[1] > 4:
        return False
    (kernel, _), (pad, _), _ = _pair(writer, (min(x.shape[2:]),) * 2, 3)
    stride = writer.pick(1, 2)
    shape = tuple(_window(size, kernel, pad, stride) for size in x.shape[2:])
    writer.layer("Im2col", [x], [(x.shape[0], x.shape[1] * kernel * kernel, *shape)],
                 f"convolution_param {{ kernel_size: {kernel} pad: {pad} stride: {stride} }}",
                 )  # fmt: skip
    return True


def crop(writer: Writer, x: Value) -> bool:
    """A window of one blob, of the size of another."""
    if len(x.shape) < 2:
        return False
    axis = writer.pick(1, len(x.shape) - 1)
    offsets, shape = [], list(x.shape)
    for i in range(axis, len(x.shape)):
        offsets.append(writer.pick(0, x.shape[i] - 1))
        shape[i] = writer.pick(1, x.shape[i] - offsets[-1])
    size = writer.given(shape)
    writer.pool.remove(size)
    words = " ".join(f"offset: {o}" for o in offsets)
    writer.layer("Crop", [x, size], [tuple(shape)], f"crop_param {{ axis: {axis} {words} }}")
    return True


SPATIAL = [convolution, convolution, convolution, pooling, pooling, lrn, spp, im2col, crop]
