"""Image files as BVLC Caffe reads them through OpenCV (`util/io.cpp` ReadImageToCVMat).

Decoding is Pillow's. Resizing and the conversion to grey repeat OpenCV's integer arithmetic:
Pillow's own filters average over more pixels when they shrink an image and give other values.
Results are compared with those of OpenCV 4.5.1, which Debian bullseye's BVLC Caffe uses.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from dualnet.engine.errors import DataError
from dualnet.engine.formats.regular_file import regular_only

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["read_image", "resize"]

_COEFFICIENT = 2048  # OpenCV's weights are integers of 11 bits
_LUMINANCE = (4899, 9617, 1868)  # 0.299, 0.587, 0.114 in 14 bits


def read_image(
    path: str, where: str, color: bool | None = True, content: bytes | None = None
) -> np.ndarray:
    """Reads an image file, turned upright as its EXIF data say.

    Args:
        path: the file, in any format that Pillow knows.
        where: names the place that asks for it, for messages.
        color: True for three channels, False for one; None for what the file has, with an alpha
            channel if there is one, and not turned.
        content: what the file holds, if that is known; then it is not read.

    Returns:
        (H, W, 3) uint8 in BGR order, (H, W, 1) uint8, or (H, W, 4) uint8 with alpha last.

    Raises:
        DataError: the file is missing or holds no readable image, or pillow is missing.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise DataError(f"{where}: reading images needs the package pillow") from error
    try:
        with _stream(path, content) as stream, Image.open(stream) as image:
            if color is None:
                return _as_stored(image)
            if not color and image.format == "JPEG":
                # The file's own luminance, as OpenCV asks of its decoder.
                image.draft("L", image.size)
            upright = ImageOps.exif_transpose(image)
            if upright.mode == "CMYK":
                pixels = _from_cmyk(np.asarray(upright))
                return pixels[:, :, ::-1] if color else _gray(pixels, False)
            if upright.mode.startswith("I"):  # 16 bits: keep the upper eight
                values = np.asarray(upright).astype(np.uint32) >> 8
                upright = Image.fromarray(values.astype(np.uint8))
            grayscale = not color and upright.mode in ("1", "L")
            pixels = np.asarray(upright.convert("L" if grayscale else "RGB"))
            truncates = image.format == "PNG"
    except FileNotFoundError as error:
        raise DataError(f"{where}: image '{path}' does not exist") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # A broken PNG is a SyntaxError to Pillow.
        raise DataError(f"{where}: cannot read image '{path}': {error}") from error
    if color:
        return pixels[:, :, ::-1]
    return pixels[:, :, np.newaxis] if pixels.ndim == 2 else _gray(pixels, truncates)


def _stream(path: str, content: bytes | None) -> BinaryIO:
    if content is not None:
        return io.BytesIO(content)
    return open(path, "rb", opener=regular_only)


def _from_cmyk(cmyk: np.ndarray) -> np.ndarray:
    """RGB as OpenCV makes it of a JPEG's four inks, (H, W, 4) uint8 as Pillow gives them."""
    inks = 255 - cmyk.astype(np.int32)  # Pillow inverts what the file holds
    black = inks[:, :, 3:]
    return (black - ((255 - inks[:, :, :3]) * black >> 8)).astype(np.uint8)


def _as_stored(image: Image.Image) -> np.ndarray:
    """The channels that a file has, (H, W, 1, 3 or 4) uint8."""
    if image.mode.startswith("I"):
        raise ValueError("it has 16 bits a channel, images of a database must have 8")
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))[:, :, np.newaxis]
    if image.mode in ("RGBA", "LA") or "transparency" in image.info:
        return np.asarray(image.convert("RGBA"))[:, :, [2, 1, 0, 3]]
    if image.mode == "CMYK":
        return _from_cmyk(np.asarray(image))[:, :, ::-1]
    return np.asarray(image.convert("RGB"))[:, :, ::-1]


def _gray(rgb: np.ndarray, truncates: bool) -> np.ndarray:
    """The luminance of an RGB image, as libpng (which truncates) or OpenCV computes it."""
    weights, shift, half = ((9797, 19234, 3737), 15, 0) if truncates else (_LUMINANCE, 14, 1 << 13)
    total = rgb.astype(np.int32) @ np.array(weights, np.int32)
    return ((total + half) >> shift).astype(np.uint8)[:, :, np.newaxis]


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Interpolates between the four nearest pixels; shrinking does not average (INTER_LINEAR).

    Args:
        image: (H, W, C) uint8.
        height: of the result.
        width: of the result.

    Returns:
        (height, width, C) uint8, as OpenCV computes it without vendor libraries: in fixed-point
        arithmetic with weights of 11 bits, whose products are shifted right in three steps (4, 16
        and 2 bits, together the 22 bits of two weights). The order of the shifts decides the
        rounding.
    """
    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width):
        return image
    if (rows, columns) == (2 * height, 2 * width):  # OpenCV turns exactly this into an average
        blocks = image.reshape(height, 2, width, 2, -1).astype(np.uint16)
        return ((blocks.sum(axis=(1, 3), dtype=np.uint16) + 2) >> 2).astype(np.uint8)
    top, bottom, down = _neighbours(rows, height)
    left, right, across = _neighbours(columns, width, clamped=True)
    pixels = image.astype(np.int32)
    # Rows first, then columns; the first shift makes room for 16-bit lanes in OpenCV's vector code.
    weights = across[:, :, np.newaxis]
    mixed = (pixels[:, left] * weights[0] + pixels[:, right] * weights[1]) >> 4
    weights = down[:, :, np.newaxis, np.newaxis]
    # Each product loses its lower 16 bits before the sum, as it does there.
    result = ((mixed[top] * weights[0]) >> 16) + ((mixed[bottom] * weights[1]) >> 16)
    return np.clip((result + 2) >> 2, 0, 255).astype(np.uint8)


def _neighbours(
    size: int, wanted: int, clamped: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Along one axis: the two pixels that each new pixel lies between, and their weights (2, n)."""
    scale = 1.0 / (wanted / size)
    place = ((np.arange(wanted) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(place).astype(np.int64)
    fraction = place - first.astype(np.float32)
    if clamped:
        # Horizontally the outermost pixel gets the whole weight, vertically it is taken twice.
        fraction[(first < 0) | (first >= size - 1)] = 0
    one = np.float32(1)
    weights = np.rint(np.stack([one - fraction, fraction]) * np.float32(_COEFFICIENT))
    low = np.clip(first, 0, size - 1)
    high = np.clip(first + 1, 0, size - 1)
    return low, high, weights.astype(np.int32)
