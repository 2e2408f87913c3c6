"""Preprocessing of stored images: crop, mirror, mean, scale (Caffe `data_transformer.cpp`)."""

from __future__ import annotations

import numpy as np

from dualnet.engine.core import random
from dualnet.engine.errors import PrototxtError, ShapeError
from dualnet.engine.formats.prototxt import read_binary
from dualnet.engine.proto import caffe_pb2

__all__ = ["DataTransformer", "read_mean"]


class DataTransformer:
    """Turns a batch of images into (x - mean) * scale, cropped and mirrored.

    Crops are random in TRAIN and centred in TEST; each image is mirrored with probability 0.5.

    Args:
        param: the layer's `transform_param`.
        phase: 0 for TRAIN, 1 for TEST.
        layer_name: for messages.

    Raises:
        PrototxtError: mean_file and mean_value are both given, or the file is wrong.
    """

    def __init__(self, param: caffe_pb2.TransformationParameter, phase: int, layer_name: str):
        self._name = layer_name
        self._crop: int = param.crop_size
        self._mirror: bool = param.mirror
        self._scale: float = param.scale
        self._train = phase == caffe_pb2.TRAIN
        self._mean: np.ndarray | None = None
        if param.HasField("mean_file"):
            if param.mean_value:
                raise PrototxtError(
                    f"layer '{layer_name}': cannot specify mean_file and mean_value at the same "
                    "time"
                )
            self._mean = read_mean(param.mean_file)
        elif param.mean_value:
            self._mean = np.array(param.mean_value, np.float32).reshape(-1, 1, 1)
        # Made only if needed, for it takes a draw of the engine's generator: nets without random
        # crops and mirroring get the same initial weights whether or not they have this layer.
        random_needed = self._mirror or (self._crop and self._train)
        self._draw = random.numpy_generator() if random_needed else None

    @property
    def crops(self) -> bool:
        """Whether images are cropped, so that they may differ in size."""
        return bool(self._crop)

    def output_shape(self, image: tuple[int, int, int]) -> tuple[int, int, int]:
        """The shape of one transformed image.

        Args:
            image: (C, H, W) of the stored image.

        Raises:
            ShapeError: the crop or the mean does not fit.
        """
        channels, height, width = image
        if self._crop > min(height, width):
            raise ShapeError(
                f"layer '{self._name}': crop_size {self._crop} exceeds the image {image}"
            )
        if self._mean is not None:
            mean = self._mean.shape
            fits = mean == image or (mean[1:] == (1, 1) and mean[0] in (1, channels))
            if not fits:
                raise ShapeError(
                    f"layer '{self._name}': the mean has shape {mean}, the images {image}; one "
                    "mean_value is for all channels, several are one a channel"
                )
        return (channels, self._crop, self._crop) if self._crop else image

    def batch(self, images: list[np.ndarray]) -> np.ndarray:
        """Transforms a batch.

        Args:
            images: each (C, H, W), uint8 or float32, all of one shape unless cropped.

        Returns:
            (N, C, H', W') float32.
        """
        if not self._crop and not self._mirror:
            result = np.stack(images).astype(np.float32)
            if self._mean is not None:
                result -= self._mean
        else:
            result = np.stack([self._one(image) for image in images])
        if self._scale != 1:
            result *= np.float32(self._scale)
        return result

    def _one(self, image: np.ndarray) -> np.ndarray:
        """Crops, subtracts the mean of the same place, and mirrors."""
        result = image
        top = left = 0
        if self._crop:
            rows, columns = image.shape[1] - self._crop, image.shape[2] - self._crop
            if self._train and self._draw is not None:
                top, left = self._draw.integers(rows + 1), self._draw.integers(columns + 1)
            else:
                top, left = rows // 2, columns // 2
            result = self._cut(image, top, left)
        result = result.astype(np.float32)
        if self._mean is not None:
            whole = self._mean.shape[1:] == image.shape[1:] and self._crop
            result -= self._cut(self._mean, top, left) if whole else self._mean
        if self._mirror and self._draw is not None and self._draw.integers(2):
            result = result[:, :, ::-1]
        return result

    def _cut(self, image: np.ndarray, top: int, left: int) -> np.ndarray:
        return image[:, top : top + self._crop, left : left + self._crop]


def read_mean(path: str) -> np.ndarray:
    """A mean image from a BlobProto file.

    Args:
        path: the file, for example `mean.binaryproto`.

    Returns:
        (C, H, W) float32.

    Raises:
        PrototxtError: the file is missing or holds something else.
    """
    proto = read_binary(path, caffe_pb2.BlobProto)
    values = np.array(proto.data, np.float32)
    shape = list(proto.shape.dim) or [proto.num, proto.channels, proto.height, proto.width]
    shape = [1] * (4 - len(shape)) + shape
    if values.size == 0 or values.size != np.prod(shape) or shape[0] != 1:
        raise PrototxtError(
            f"'{path}' is not a mean image: shape {tuple(shape)} with {values.size} values, "
            "expected (1, C, H, W)"
        )
    return values.reshape(shape[1:])
