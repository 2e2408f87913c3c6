"""One image file as a record of a database holds it: planes of bytes, or compressed as it was.

What becomes of a file is what Caffe's convert_imageset makes of it, to the byte where nothing is
compressed: blue, green and red planes, turned upright as EXIF says, no alpha, grey as OpenCV
computes it, and resized by OpenCV's bilinear interpolation, which takes four pixels for each and
does not average when it shrinks an image. `antialias` averages (Pillow's bilinear filter).
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

import numpy as np
from PIL import Image

from dualnet.engine.errors import DataError
from dualnet.engine.formats.file_kind import guess_kind
from dualnet.engine.formats.image import read_image, resize
from dualnet.engine.formats.regular_file import regular_only

__all__ = ["ENCODINGS", "Picture", "Unreadable", "Wanted", "prepare_picture"]

#: What images can be compressed as: Pillow's format, by the name that convert_imageset gives it.
ENCODINGS = {"jpg": "JPEG", "jpeg": "JPEG", "png": "PNG"}
#: OpenCV's default.
_JPEG_QUALITY = 95
#: Since Pillow 9.1 it is in an enumeration, too, which alone its type hints know.
_BILINEAR: Any = getattr(Image, "Resampling", Image).BILINEAR


class Wanted(NamedTuple):
    """What is to become of an image."""

    #: Three channels, or one.
    color: bool = True
    #: (height, width), proportions or not.
    size: Optional[tuple[int, int]] = None
    #: What the shorter side is to become, in proportion; instead of `size`.
    shorter: int = 0
    #: How it is resized: `caffe` or `antialias`.
    filter: str = "caffe"
    #: Keep images compressed.
    encoded: bool = False
    #: A key of `ENCODINGS`; "" as the file's name says.
    encode_type: str = ""


class Picture(NamedTuple):
    """An image that can be stored."""

    #: (C, H, W) uint8; of a compressed image what it decodes to.
    pixels: np.ndarray
    #: The file's content, or the image recompressed; None for pixels.
    compressed: Optional[bytes] = None


class Unreadable(NamedTuple):
    """An image that cannot, and why, in one line."""

    reason: str


def prepare_picture(wanted: Wanted, path: Path) -> Union[Picture, Unreadable]:
    """Read an image file and make of it what is wanted. Never raises."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of strange EXIF data and of very large images, which are none of its own.
            warnings.simplefilter("ignore")
            content = _content(path)
            try:
                return _prepare(wanted, path, content)
            except DataError as error:
                # Only then: the pixels of a .ppm may look like text.
                return Unreadable(_reason(error, content))
    except _Refused as error:
        return Unreadable(str(error))
    except OSError as error:
        return Unreadable(error.strerror or " ".join(str(error).split()))
    except Exception as error:  # a damaged picture can make Pillow raise nearly anything
        return Unreadable(" ".join(f"{type(error).__name__} {error}".split()))


class _Refused(Exception):
    """With the reason as its text."""


def _content(path: Path) -> bytes:
    with open(path, "rb", opener=regular_only) as file:
        content = file.read()
    if not content:
        raise _Refused("empty")
    return content


def _prepare(wanted: Wanted, path: Path, content: bytes) -> Picture:
    pixels = _decode(content, wanted.color)
    height, width = pixels.shape[:2]
    if wanted.size:
        size = wanted.size
    elif wanted.shorter:
        scale = wanted.shorter / min(height, width)
        size = max(1, round(height * scale)), max(1, round(width * scale))
    else:
        size = height, width
    if size != (height, width):
        pixels = _resize(pixels, size, wanted.filter)
    if not wanted.encoded:
        return Picture(_planes(pixels))
    name = wanted.encode_type or path.suffix[1:].lower()
    if name not in ENCODINGS:
        raise _Refused(f"compressed as .{name}: give --encode-type jpg or png")
    if size == (height, width) and _is_stored_as(content, pixels, ENCODINGS[name]):
        return Picture(_planes(pixels), content)
    compressed = _compress(pixels, ENCODINGS[name])
    return Picture(_planes(_decode(compressed, None)), compressed)


def _decode(content: bytes, color: Optional[bool]) -> np.ndarray:
    """(H, W, C) uint8, blue first; as it is stored where `color` is None."""
    return read_image("", "", color, content)


def _is_stored_as(content: bytes, pixels: np.ndarray, kind: str) -> bool:
    """Whether a file can be kept as it is: Caffe decodes it to the same pixels.

    It does not turn what a database holds upright, nor add or drop channels.
    """
    with Image.open(io.BytesIO(content)) as image:
        if image.format != kind:
            return False
    try:
        return np.array_equal(_decode(content, None), pixels)
    except DataError:  # 16 bits a channel
        return False


def _compress(pixels: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    flat = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels[:, :, ::-1]
    image = Image.fromarray(np.ascontiguousarray(flat))
    image.save(stream, kind, **({"quality": _JPEG_QUALITY} if kind == "JPEG" else {}))
    return stream.getvalue()


def _resize(pixels: np.ndarray, size: tuple[int, int], how: str) -> np.ndarray:
    height, width = size
    if how == "caffe":
        return resize(pixels, height, width)
    planes = [
        np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize((width, height), _BILINEAR))
        for plane in pixels.transpose(2, 0, 1)
    ]
    return np.stack(planes, axis=2)


def _planes(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _reason(error: DataError, content: bytes) -> str:
    """What Pillow says, without the names of its objects."""
    cause = error.__cause__
    if isinstance(cause, Image.UnidentifiedImageError):
        kind = guess_kind(content)
        return f"no image, but {kind}" if kind else "no image of a known format"
    return " ".join(str(cause or error).split()) or type(cause or error).__name__
