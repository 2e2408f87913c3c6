"""pycaffe's `caffe.io.Transformer`: what a net's input needs of an image (`python/caffe/io.py`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dualnet.engine.pycaffe.image_arrays import resize_image

__all__ = ["Transformer"]


class Transformer:
    """Turns images as `load_image` gives them into what a net takes, and back.

    Args:
        inputs: the shape of each net input, (N, C, H, W), by name.
    """

    def __init__(self, inputs: dict[str, Sequence[int]]) -> None:
        self.inputs = inputs
        self.transpose: dict[str, Sequence[int]] = {}
        self.channel_swap: dict[str, Sequence[int]] = {}
        self.raw_scale: dict[str, float] = {}
        self.mean: dict[str, np.ndarray] = {}
        self.input_scale: dict[str, float] = {}

    def _check_input(self, in_: str) -> None:
        if in_ not in self.inputs:
            raise ValueError(f"{in_} is not one of the net inputs: {sorted(self.inputs)}")

    def preprocess(self, in_: str, data: np.ndarray) -> np.ndarray:
        """Resizes, transposes, swaps channels, scales, subtracts the mean, scales again.

        Args:
            in_: the net input.
            data: (H', W', K).

        Returns:
            (K, H, W) float32 (with the usual transpose (2, 0, 1)).
        """
        self._check_input(in_)
        # A copy: pycaffe changes the caller's image if it is float32 and of the right size.
        image = data.astype(np.float32)
        size = tuple(self.inputs[in_])[2:]
        if image.shape[:2] != size:
            image = resize_image(image, size)
        if in_ in self.transpose:
            image = image.transpose(self.transpose[in_])
        if in_ in self.channel_swap:
            image = image[list(self.channel_swap[in_]), :, :]
        # In place, so that it stays float32 whatever the mean and the factors are.
        if in_ in self.raw_scale:
            image *= _factor(self.raw_scale[in_])
        if in_ in self.mean:
            image -= self.mean[in_]
        if in_ in self.input_scale:
            image *= _factor(self.input_scale[in_])
        return image

    def deprocess(self, in_: str, data: np.ndarray) -> np.ndarray:
        """Inverts `preprocess` but for the size."""
        self._check_input(in_)
        image = data.copy().squeeze()
        if in_ in self.input_scale:
            image /= self.input_scale[in_]
        if in_ in self.mean:
            image += self.mean[in_]
        if in_ in self.raw_scale:
            image /= self.raw_scale[in_]
        if in_ in self.channel_swap:
            image = image[np.argsort(self.channel_swap[in_]), :, :]
        if in_ in self.transpose:
            image = image.transpose(np.argsort(self.transpose[in_]))
        return image

    def set_transpose(self, in_: str, order: Sequence[int]) -> None:
        """Sets the order of axes, for example (2, 0, 1) from (H, W, K) to (K, H, W)."""
        self._check_input(in_)
        if len(order) != len(self.inputs[in_]) - 1:
            raise ValueError(
                "Transpose order needs to have the same number of dimensions as the input: "
                f"{len(self.inputs[in_]) - 1}, got {len(order)}"
            )
        self.transpose[in_] = order

    def set_channel_swap(self, in_: str, order: Sequence[int]) -> None:
        """Sets the order of channels, for example (2, 1, 0) from RGB to BGR."""
        self._check_input(in_)
        if len(order) != self.inputs[in_][1]:
            raise ValueError(
                "Channel swap needs to have the same number of dimensions as the input channels: "
                f"{self.inputs[in_][1]}, got {len(order)}"
            )
        self.channel_swap[in_] = order

    def set_raw_scale(self, in_: str, scale: float) -> None:
        """Sets the factor applied before the mean, for example 255."""
        self._check_input(in_)
        self.raw_scale[in_] = scale

    def set_mean(self, in_: str, mean: np.ndarray) -> None:
        """Sets the mean: (K,) for channels, (K, H, W), (1, H, W), or (H, W) for a single channel.

        A mean image (K, H, W) of another size than the input's is resized to it, as `resize_image`
        does, and becomes float32; otherwise it is kept as it is.

        Raises:
            ValueError: the mean has other channels than the input, or no such shape.
        """
        self._check_input(in_)
        if not isinstance(mean, np.ndarray):
            raise TypeError(
                f"set_mean({in_!r}, {mean!r}): the mean is an array; np.load('mean.npy'), or "
                "caffe.io.blobproto_to_array of a .binaryproto, gives one"
            )
        channels, *size = (int(n) for n in self.inputs[in_][1:])
        if mean.ndim == 1:
            if mean.shape[0] != channels:
                raise ValueError(
                    f"Mean channels incompatible with input: {mean.shape[0]}, the input has "
                    f"{channels}"
                )
            mean = mean[:, np.newaxis, np.newaxis]
        else:
            shape = mean.shape if mean.ndim != 2 else (1, *mean.shape)
            if len(shape) != 3:
                raise ValueError(
                    f"Mean shape invalid: {mean.shape}, expected (K, H, W); of an array as "
                    "blobproto_to_array gives it, (1, K, H, W), take [0]"
                )
            is_flat = mean.ndim == 2 and list(shape) != [channels, *size]
            if is_flat or shape[0] not in (1, channels):
                raise ValueError(
                    f"Mean shape incompatible with input shape: {mean.shape}, the input is "
                    f"{(channels, *size)}"
                )
            if list(shape[1:]) != size:
                mean = _resize_mean(mean, size)
        self.mean[in_] = mean

    def set_input_scale(self, in_: str, scale: float) -> None:
        """Sets the factor applied after the mean."""
        self._check_input(in_)
        self.input_scale[in_] = scale


def _factor(scale: float | np.ndarray) -> np.float32 | np.ndarray:
    """A scale as a factor that keeps float32 images float32."""
    return np.float32(scale) if np.ndim(scale) == 0 else np.asarray(scale)


def _resize_mean(mean: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """A mean image of another size, (K, H', W') float32."""
    low, high = float(mean.min()), float(mean.max())
    if low == high:  # pycaffe divides by zero here, and all is NaN
        return np.full((mean.shape[0], *size), low, np.float32)
    normal = (mean.astype(np.float64) - low) / (high - low)
    resized = resize_image(normal.transpose(1, 2, 0), size).transpose(2, 0, 1)
    return resized * np.float32(high - low) + np.float32(low)
