"""pycaffe's `caffe.io`: blobs and datums as arrays, and image preprocessing (`python/caffe/io.py`).

Images are (H, W, K) float32 in [0, 1], RGB. Only `load_image` needs pillow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dualnet.engine.errors import ShapeError
from dualnet.engine.formats.blob_proto import put_values, stored_shape, stored_values
from dualnet.engine.proto import caffe_pb2
from dualnet.engine.pycaffe import resize

__all__ = [
    "Transformer",
    "array_to_blobproto",
    "array_to_datum",
    "arraylist_to_blobprotovector_str",
    "blobproto_to_array",
    "blobprotovector_str_to_arraylist",
    "datum_to_array",
    "load_image",
    "oversample",
    "resize_image",
]


def blobproto_to_array(blob: caffe_pb2.BlobProto, return_diff: bool = False) -> np.ndarray:
    """A stored blob's data, or diff, as an array of its shape.

    Args:
        blob: in the present layout or the four-number one.
        return_diff: the diff instead of the data.

    Raises:
        ShapeError: the values do not fill the shape.
    """
    what = "diff" if return_diff else "data"
    values, shape = stored_values(blob, what), stored_shape(blob)
    if values.size != math.prod(shape) or any(size < 0 for size in shape):
        raise ShapeError(
            f"a stored blob of shape {tuple(shape)} holds {values.size} {what} values; the file is "
            "damaged, or holds no blob"
        )
    return values.reshape(shape)


def array_to_blobproto(arr: np.ndarray, diff: np.ndarray | None = None) -> caffe_pb2.BlobProto:
    """An array, and if given its gradient, as a message."""
    blob = caffe_pb2.BlobProto()
    blob.shape.dim.extend(arr.shape)
    put_values(blob, "data", np.asarray(arr))
    if diff is not None:
        put_values(blob, "diff", np.asarray(diff))
    return blob


def arraylist_to_blobprotovector_str(arraylist: Sequence[np.ndarray]) -> bytes:
    """Several arrays as one serialised message."""
    vector = caffe_pb2.BlobProtoVector(blobs=[array_to_blobproto(arr) for arr in arraylist])
    return bytes(vector.SerializeToString())


def blobprotovector_str_to_arraylist(content: bytes) -> list[np.ndarray]:
    """The inverse of `arraylist_to_blobprotovector_str`."""
    vector = caffe_pb2.BlobProtoVector.FromString(content)
    return [blobproto_to_array(blob) for blob in vector.blobs]


def array_to_datum(arr: np.ndarray, label: int | None = None) -> caffe_pb2.Datum:
    """An image as a database record.

    Args:
        arr: (C, H, W); uint8 is stored as bytes, anything else as floats.
        label: stored if given.

    Raises:
        ValueError: the array has not three axes.
    """
    if arr.ndim != 3:
        raise ValueError(f"Incorrect array shape: a datum needs (C, H, W), got {arr.shape}")
    datum = caffe_pb2.Datum(channels=arr.shape[0], height=arr.shape[1], width=arr.shape[2])
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(arr.astype(float).reshape(-1).tolist())
    if label is not None:
        datum.label = label
    return datum


def datum_to_array(datum: caffe_pb2.Datum) -> np.ndarray:
    """A record's image, (C, H, W), uint8 or float64; the label is not part of it."""
    shape = (datum.channels, datum.height, datum.width)
    if datum.data:
        return np.frombuffer(datum.data, dtype=np.uint8).reshape(shape)
    return np.array(datum.float_data).astype(float).reshape(shape)


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
        # A copy: pycaffe changes the caller's image where it is float32 and of the right size.
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
    """A scale as a factor that does not make float64 of float32."""
    return np.float32(scale) if np.ndim(scale) == 0 else np.asarray(scale)


def _resize_mean(mean: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """A mean image of another size, (K, H', W') float32."""
    low, high = float(mean.min()), float(mean.max())
    if low == high:  # pycaffe divides by zero here, and all is NaN
        return np.full((mean.shape[0], *size), low, np.float32)
    normal = (mean.astype(np.float64) - low) / (high - low)
    resized = resize_image(normal.transpose(1, 2, 0), size).transpose(2, 0, 1)
    return resized * np.float32(high - low) + np.float32(low)


def load_image(filename: str, color: bool = True) -> np.ndarray:
    """Reads an image file, a JPEG turned upright as its EXIF data say.

    Args:
        filename: the file.
        color: three channels, or else one.

    Returns:
        (H, W, 3) or (H, W, 1) float32 in [0, 1], or as they are from a file of floats. An alpha
        channel is dropped in colour; in grey, transparent pixels become white.
    """
    values = _read_image(filename)
    if values.ndim == 2:
        return np.repeat(values[:, :, np.newaxis], 3 if color else 1, axis=2).astype(np.float32)
    if color:
        return values[:, :, :3].astype(np.float32)
    if values.shape[2] == 4:
        alpha = values[:, :, 3:]
        values = values[:, :, :3] * alpha + (1 - alpha)
    return (values @ _LUMINANCE[:, np.newaxis]).astype(np.float32)


def _read_image(filename: str) -> np.ndarray:
    """An image file's pixels, (H, W), (H, W, 3) or (H, W, 4) float64."""
    from PIL import Image, ImageOps

    with Image.open(filename) as image:
        upright = ImageOps.exif_transpose(image) if image.format == "JPEG" else image
        if upright.mode == "F":
            return np.asarray(upright, np.float64)
        if upright.mode in ("1", "L") and "transparency" not in upright.info:
            return np.asarray(upright.convert("L")) / 255
        if upright.mode.startswith("I"):
            pixels = np.asarray(upright)
            # Older Pillows read a PNG of 16 bits into integers of 32.
            is_short = image.format == "PNG" or pixels.dtype.itemsize == 2
            return pixels / float(np.iinfo(np.uint16 if is_short else np.int32).max)
        has_alpha = upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info
        return np.asarray(upright.convert("RGBA" if has_alpha else "RGB")) / 255


#: Weights of red, green and blue in a grey image, as scikit-image has them.
_LUMINANCE = np.array([0.2125, 0.7154, 0.0721])


def resize_image(im: np.ndarray, new_dims: Sequence[int], interp_order: int = 1) -> np.ndarray:
    """Resizes an image as pycaffe does; see `dualnet.engine.pycaffe.resize`.

    Args:
        im: (H, W, K) of any range.
        new_dims: (H', W').
        interp_order: 0 nearest, 1 linear, 3 cubic.

    Returns:
        (H', W', K) float32.

    Raises:
        ShapeError: the image has no axis of channels.
    """
    if im.ndim != 3:
        raise ShapeError(
            f"resize_image needs an image (H, W, K), it is {im.shape}; one of a single channel is "
            "image[:, :, np.newaxis]"
        )
    rows, columns = int(new_dims[0]), int(new_dims[1])
    if im.shape[2] not in (1, 3):
        return resize.zoom(im, rows, columns, interp_order).astype(np.float32)
    low, high = float(im.min()), float(im.max())
    if low == high:
        return np.full((rows, columns, im.shape[2]), low, dtype=np.float32)
    standard = (im - low) / (high - low)
    result = resize.resize(standard, rows, columns, interp_order)
    return (result * (high - low) + low).astype(np.float32)


def oversample(images: Sequence[np.ndarray], crop_dims: Sequence[int]) -> np.ndarray:
    """Cuts the four corners and the centre from each image, and mirrors them.

    Args:
        images: each (H, W, K), all of one shape.
        crop_dims: (h, w) of the crops.

    Returns:
        (10 * N, h, w, K) float32.
    """
    rows, columns, channels = images[0].shape
    h, w = int(crop_dims[0]), int(crop_dims[1])
    starts = [(i, j) for i in (0, rows - h) for j in (0, columns - w)]
    starts.append(((rows - h) // 2, (columns - w) // 2))
    crops = np.empty((10 * len(images), h, w, channels), dtype=np.float32)
    for n, image in enumerate(images):
        for k, (i, j) in enumerate(starts):
            crop = image[i : i + h, j : j + w]
            crops[10 * n + k] = crop
            crops[10 * n + 5 + k] = crop[:, ::-1]
    return crops
