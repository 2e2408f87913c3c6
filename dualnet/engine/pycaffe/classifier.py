"""A net that classifies images (pycaffe's `python/caffe/classifier.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dualnet.engine.formats.prototxt import Path
from dualnet.engine.net.net import Net
from dualnet.engine.proto.caffe_pb2 import TEST
from dualnet.engine.pycaffe import io

__all__ = ["Classifier", "image_transformer"]


def image_transformer(
    net: Net,
    mean: np.ndarray | None,
    input_scale: float | None,
    raw_scale: float | None,
    channel_swap: Sequence[int] | None,
) -> io.Transformer:
    """The preprocessing of a net's first input, (H, W, K) images in.

    Args:
        net: the net.
        mean: (K,) or (K, H, W), subtracted.
        input_scale: factor after the mean.
        raw_scale: factor before the mean.
        channel_swap: order of channels, (2, 1, 0) for nets trained on BGR.
    """
    name = net.inputs[0]
    transformer = io.Transformer({name: net.blobs[name].data.shape})
    transformer.set_transpose(name, (2, 0, 1))
    if mean is not None:
        transformer.set_mean(name, mean)
    if input_scale is not None:
        transformer.set_input_scale(name, input_scale)
    if raw_scale is not None:
        transformer.set_raw_scale(name, raw_scale)
    if channel_swap is not None:
        transformer.set_channel_swap(name, channel_swap)
    return transformer


class Classifier(Net):
    """A net with one image input, ready to classify images of any size.

    Args:
        model_file: the deploy prototxt.
        pretrained_file: its weights.
        image_dims: (H, W) that images are scaled to before cropping; the input's by default.
        mean: see `image_transformer`, as are the arguments that follow.
        input_scale: factor after the mean.
        raw_scale: factor before the mean.
        channel_swap: order of channels.
    """

    def __init__(
        self,
        model_file: Path,
        pretrained_file: Path,
        image_dims: Sequence[int] | None = None,
        mean: np.ndarray | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
    ) -> None:
        super().__init__(model_file, TEST, weights=pretrained_file)
        self.transformer = image_transformer(self, mean, input_scale, raw_scale, channel_swap)
        self.crop_dims = np.array(self.blobs[self.inputs[0]].data.shape[2:])
        self.image_dims = np.array(image_dims if image_dims else self.crop_dims)

    def predict(self, inputs: Sequence[np.ndarray], oversample: bool = True) -> np.ndarray:
        """Class probabilities of images.

        Args:
            inputs: images, each (H, W, K) float32 as `io.load_image` gives them.
            oversample: averages over corners, centre and their mirror images; else the centre only.

        Returns:
            (N, C) float32: the first output for each image.
        """
        rows, columns = (int(size) for size in self.image_dims)
        images = [io.resize_image(image, (rows, columns)) for image in inputs]
        h, w = (int(size) for size in self.crop_dims)
        if oversample:
            crops = io.oversample(images, (h, w))
        else:
            top, left = (rows - h) // 2, (columns - w) // 2
            crops = np.stack(images)[:, top : top + h, left : left + w]
        name = self.inputs[0]
        batch = np.stack([self.transformer.preprocess(name, crop) for crop in crops])
        batches: dict[str, Any] = {name: batch}
        predictions = self.forward_all(**batches)[self.outputs[0]]
        if oversample:
            # `io.oversample` makes 10 crops of each image, one after the other.
            predictions = predictions.reshape(len(images), 10, -1).mean(axis=1)
        return predictions
