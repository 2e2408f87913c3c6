"""Images as arrays: read, resized and cropped as pycaffe's `caffe.io` does (`python/caffe/io.py`).

They are (H, W, K) float32 in [0, 1], RGB. Only `load_image` needs pillow. What the data layers read
are other images: see `dualnet.engine.formats.image`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dualnet.engine.errors import ShapeError
from dualnet.engine.pycaffe import resize

__all__ = ["load_image", "oversample", "resize_image"]


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
