"""Layers in a few words."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from dualnet.backend import caffe_pb2
from dualnet.cut.drawing.wording import describe, kind_of


def layer(text):
    return text_format.Parse(text, caffe_pb2.LayerParameter())


@pytest.mark.parametrize(
    ("text", "words", "kind"),
    [
        ('type: "Convolution" bottom: "a" convolution_param { num_output: 8 kernel_size: 3 }',
         "3×3 convolution, 8", "convolution"),
        ('type: "Convolution" bottom: "a" convolution_param { num_output: 8 kernel_size: 3 '
         "kernel_size: 5 stride: 2 group: 4 }", "3×5 convolution, 8, stride 2, 4 groups",
         "convolution"),
        ('type: "Deconvolution" bottom: "a" convolution_param { num_output: 2 kernel_h: 1 '
         "kernel_w: 7 }", "1×7 deconvolution, 2", "convolution"),
        ('type: "Pooling" bottom: "a" pooling_param { pool: AVE kernel_size: 3 stride: 2 }',
         "3×3 average pooling, stride 2", "pooling"),
        ('type: "Pooling" bottom: "a" pooling_param { pool: MAX global_pooling: true }',
         "global max pooling", "pooling"),
        ('type: "InnerProduct" bottom: "a" inner_product_param { num_output: 10 }',
         "fully connected, 10", "dense"),
        ('type: "LRN" bottom: "a"', "local response normalisation", "other"),
        ('type: "Eltwise" bottom: "a" bottom: "b"', "sum", "other"),
        ('type: "SoftmaxWithLoss" bottom: "a"', "softmax loss", "loss"),
        ('type: "Python" bottom: "a" loss_weight: 1 python_param { layer: "Mine" }', "Mine",
         "loss"),
        ('type: "Data" top: "a" data_param { batch_size: 64 }', "batches of 64", "input"),
        ('type: "TanH" bottom: "a"', "TanH", "other"),
    ],
)  # fmt: skip
def test_words(text, words, kind):
    assert (describe(layer(text)), kind_of(layer(text))) == (words, kind)
