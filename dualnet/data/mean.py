"""The mean image of a data set, in the file format of Caffe's compute_image_mean."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dualnet.data.messages import messages
from dualnet.data.publish import new_file
from dualnet.errors import ConfigError, StorageFailed

__all__ = ["compute_mean", "read_mean", "write_mean"]


def compute_mean(images: Iterable[np.ndarray]) -> np.ndarray:
    """Average images pixel by pixel, as tools/compute_image_mean.cpp does.

    Caffe adds up in float32, which is exact for integers below 2**24, that is for 65,793 images of
    bytes; then it divides in float32. The sum here is exact for any number of images.

    Args:
        images: (C, H, W) uint8 each, all of one shape.

    Returns:
        The mean, (C, H, W) float32.

    Raises:
        ConfigError: There is no image, or one is of another shape or type.
    """
    total: np.ndarray | None = None
    count = 0
    for count, image in enumerate(images, 1):
        if total is None:
            total = np.zeros(image.shape, np.int64)
        if image.dtype != np.uint8 or image.shape != total.shape:
            raise ConfigError(
                f"image {count - 1} is {image.dtype} of shape {image.shape}, but the mean of uint8 "
                f"images of shape {total.shape} is wanted"
            )
        total += image
    if total is None:
        raise ConfigError("the mean of no images is not defined: the data set is empty")
    # Rounding a float64 quotient gives the same as dividing in float32 wherever the sum fits that.
    return (total / count).astype(np.float32)


def write_mean(path: str | Path, mean: np.ndarray, force: bool = False) -> None:
    """Write a mean image as the BlobProto that Caffe's `mean_file` reads.

    The four legacy dimensions are used, num = 1 first, because compute_image_mean writes them and
    older tools know nothing else.

    Args:
        path: The file, usually mean.binaryproto.
        mean: (C, H, W), stored as float32.
        force: Replace a file that is there.

    Raises:
        UsageError: `path` exists and `force` is not given.
        ConfigError: `mean` does not have three dimensions.
        StorageFailed: The file cannot be written.
    """
    if mean.ndim != 3:
        raise ConfigError(f"{path}: a mean image has shape (C, H, W), not {mean.shape}")
    blob = messages().BlobProto(num=1)
    blob.channels, blob.height, blob.width = mean.shape
    blob.data.extend(np.asarray(mean, np.float32).ravel().tolist())
    with new_file(path, force) as temporary:
        temporary.write_bytes(blob.SerializeToString())


def read_mean(path: str | Path) -> np.ndarray:
    """Read a mean image with legacy or current dimensions.

    Args:
        path: The file, usually mean.binaryproto.

    Returns:
        (C, H, W) float32.

    Raises:
        StorageFailed: The file is missing, damaged, or not a mean image.
    """
    blob = messages().BlobProto()
    try:
        blob.ParseFromString(Path(path).read_bytes())
    except OSError as error:
        raise StorageFailed(f"cannot read the mean image {path} ({error.strerror})") from error
    except Exception as error:  # DecodeError lives in protobuf, which only the provider imports
        raise StorageFailed(f"{path} is not a BlobProto ({error})") from error
    if blob.HasField("shape"):
        shape = tuple(blob.shape.dim)
    else:
        shape = (blob.num, blob.channels, blob.height, blob.width)
    if len(shape) == 4 and shape[0] == 1:
        shape = shape[1:]
    values = np.array(blob.data or blob.double_data, np.float32)
    if len(shape) != 3 or values.size != int(np.prod(shape)):
        raise StorageFailed(
            f"{path} holds {values.size} values of shape {shape}, expected a mean (1, C, H, W)"
        )
    return values.reshape(shape)
