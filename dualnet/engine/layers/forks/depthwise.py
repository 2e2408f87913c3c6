"""Depthwise convolution under the names of its forks (MobileNet, ShuffleNet)."""

from __future__ import annotations

from dualnet.engine.layers.registry import register
from dualnet.engine.layers.vision.convolution import Convolution

__all__ = ["ConvolutionDepthwise", "DepthwiseConvolution"]


@register("DepthwiseConvolution")
class DepthwiseConvolution(Convolution):
    """Convolution itself: the fork computes the same faster where `group` is the channels."""


@register("ConvolutionDepthwise")
class ConvolutionDepthwise(Convolution):
    """Convolution of each channel on its own, whatever `group` and `num_output` say.

    Bottoms: (N, C, H, W). Tops: (N, C, H', W'). Parameters: weights (C, 1, kh, kw), bias (C,).
    """

    def _counts(self, channels: int) -> tuple[int, int]:
        return channels, channels
