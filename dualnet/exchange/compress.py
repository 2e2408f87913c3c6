"""Arrays of float32 in fewer bits, and back: what `exchange.dtype` names.

| dtype      | bytes | what is kept                                                             |
|------------|-------|--------------------------------------------------------------------------|
| `float16`  | 2     | 11 significant bits of the values times a power of two, one for an array |
| `bfloat16` | 2     | the upper half of each float32: 8 significant bits, float32's range      |
| `int8`     | 1     | -127 … 127 steps of 1/127 of the channel's largest absolute value        |

Every rounding is to the nearest, ties to even. An array of N values comes back with an error of at
most, for each value v, with m the largest absolute value of the array (`int8`: of the channel):

    float16    |v| 2^-11, or m 2^-39 if that is more
    bfloat16   |v| 2^-9
    int8       m / 254 (half a step)

The power of two keeps `float16` from overflowing at 65504 and from losing what is below 2^-24, both
of which a target y - gamma g of a large gamma would reach; it costs no accuracy. A NaN stays NaN
and an infinity infinite, but in an `int8` channel one value that is not finite makes all of them
NaN: no scale could represent them, and the loss of the next piece has to show that something is
wrong.

What is sent names its encoding: an array `pool2` becomes `pool2~float16` and `pool2~scale`, so that
the reader needs no settings.
"""

from __future__ import annotations

from typing import Callable

import numpy as np

__all__ = ["decode", "encode", "is_encoded"]

_MARK = "~"
_SCALE = "~scale"

# So many values are worked on at a time: the intermediate results stay in the processor's cache.
_BLOCK = 1 << 15

# float16 values go up to 2^16; the largest of an array is put just below 2^15.
_TOP_EXPONENT = 15

Encoded = dict[str, np.ndarray]


def encode(name: str, array: np.ndarray, dtype: str) -> Encoded:
    """What travels in place of an array.

    Args:
        name: the array's.
        array: (N, C, …) float32.
        dtype: one of `config.exchange.DTYPES`.

    Returns:
        The arrays to send, by name.
    """
    if dtype == "float32":
        return {name: array}
    values = np.asarray(array, dtype=np.float32, order="C")
    return _ENCODERS[dtype](f"{name}{_MARK}{dtype}", name + _SCALE, values)


def is_encoded(arrays: Encoded) -> bool:
    """Whether `decode` would change anything."""
    return any(_MARK in name for name in arrays)


def decode(arrays: Encoded) -> dict[str, np.ndarray]:
    """The arrays that were encoded, float32, and all others as they are.

    Raises:
        KeyError, ValueError: they are not what `encode` makes.
    """
    decoded = {}
    for name, array in arrays.items():
        original, mark, dtype = name.rpartition(_MARK)
        if not mark:
            decoded[name] = array
        elif dtype != "scale":
            decoded[original] = _DECODERS[dtype](array, arrays.get(original + _SCALE))
    return decoded


# float16


def _encode_float16(name: str, scale_name: str, values: np.ndarray) -> Encoded:
    exponent = _exponent(values)
    halves = np.empty(values.shape, np.float16)
    factor = np.float32(2.0**exponent)
    source, target = values.reshape(-1), halves.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for start in range(0, source.size, _BLOCK):
            block = slice(start, start + _BLOCK)
            target[block] = source[block] * factor
    return {name: halves, scale_name: np.array([2.0**-exponent], np.float32)}


def _exponent(values: np.ndarray) -> int:
    """The power of two that brings the largest finite absolute value just below 2^15."""
    top = _largest(values.reshape(1, 1, -1))[0]
    if not np.isfinite(top):
        finite = values[np.isfinite(values)]
        top = np.abs(finite).max() if finite.size else np.float32(0)
    if top == 0:
        return 0
    # Both it and its inverse have to be float32 numbers that are not subnormal.
    return int(np.clip(_TOP_EXPONENT - np.frexp(top)[1], -126, 126))


def _decode_float16(halves: np.ndarray, scale: np.ndarray | None) -> np.ndarray:
    if scale is None or halves.dtype != np.float16 or scale.shape != (1,):
        raise ValueError("float16 without its scale")
    values = halves.astype(np.float32)
    values *= scale[0]
    return values


# bfloat16, which NumPy does not have: integers that are the upper halves of the bits.


def _encode_bfloat16(name: str, scale_name: str, values: np.ndarray) -> Encoded:
    upper = np.empty(values.shape, np.uint16)
    source, target = values.reshape(-1).view(np.uint32), upper.reshape(-1)
    for start in range(0, source.size, _BLOCK):
        bits = source[start : start + _BLOCK]
        # To nearest, ties to even: a half less one, and one more if what stays is odd. A carry into
        # the exponent is right, up to infinity.
        rounded = (bits >> 16) & 1
        rounded += 0x7FFF
        rounded += bits
        rounded >>= 16
        # A NaN's bits could carry into those of an infinity, or of zero.
        is_nan = (bits & 0x7FFFFFFF) > 0x7F800000
        if is_nan.any():
            rounded[is_nan] = (bits[is_nan] >> 16) | 0x40
        target[start : start + _BLOCK] = rounded
    return {name: upper}


def _decode_bfloat16(upper: np.ndarray, scale: np.ndarray | None) -> np.ndarray:
    if upper.dtype != np.uint16:
        raise ValueError(f"bfloat16 in {upper.dtype}")
    bits = upper.astype(np.uint32)
    bits <<= np.uint32(16)
    return bits.view(np.float32)


# int8


def _encode_int8(name: str, scale_name: str, values: np.ndarray) -> Encoded:
    steps = np.empty(values.shape, np.int8)
    source, target = _by_channel(values), _by_channel(steps)
    tops = _largest(source)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        scale = np.where(np.isfinite(tops), tops / np.float32(127), np.float32(np.nan))
        # Of a subnormal scale the inverse is infinite; so small a channel is zero.
        inverse = np.where(scale >= np.finfo(np.float32).tiny, 1 / scale, 0).astype(np.float32)
        inverse = inverse[None, :, None]
        for sample in range(0, len(source), _samples(source)):
            block = source[sample : sample + _samples(source)] * inverse
            np.rint(block, out=block)
            # 1 / scale is rounded, and so may lead beyond; NaN is whatever it becomes, times NaN.
            np.clip(block, -127, 127, out=block)
            target[sample : sample + _samples(source)] = np.nan_to_num(block, copy=False)
    return {name: steps, scale_name: scale.astype(np.float32)}


def _decode_int8(steps: np.ndarray, scale: np.ndarray | None) -> np.ndarray:
    if scale is None or steps.dtype != np.int8 or scale.shape != _by_channel(steps).shape[1:2]:
        raise ValueError("int8 without its scales")
    values = steps.astype(np.float32)
    channels = _by_channel(values)
    channels *= scale[None, :, None]
    return values


def _by_channel(array: np.ndarray) -> np.ndarray:
    """A view of (N, C, …) as (N, C, rest); what has fewer than two axes is one channel."""
    samples, channels = array.shape[:2] if array.ndim > 1 else (1, 1)
    rest = array.size // max(1, samples * channels)
    return array.reshape(samples, channels, rest)


def _largest(source: np.ndarray) -> np.ndarray:
    """The largest absolute value of each channel, (C,) float32; NaN if it has one."""
    if source.size == 0:
        return np.zeros(source.shape[1], np.float32)
    # No array of absolute values: two passes over what is there cost less than one and its memory.
    return np.maximum(source.max(axis=(0, 2)), -source.min(axis=(0, 2)))


def _samples(source: np.ndarray) -> int:
    """How many samples make a block."""
    return max(1, _BLOCK // max(1, source.shape[1] * source.shape[2]))


_ENCODERS: dict[str, Callable[[str, str, np.ndarray], Encoded]] = {
    "float16": _encode_float16,
    "bfloat16": _encode_bfloat16,
    "int8": _encode_int8,
}
_DECODERS: dict[str, Callable[[np.ndarray, np.ndarray | None], np.ndarray]] = {
    "float16": _decode_float16,
    "bfloat16": _decode_bfloat16,
    "int8": _decode_int8,
}
