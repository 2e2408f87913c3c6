"""Sizes that PyTorch cannot compute end in the engine's own error, which names the layer."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import CaffeError
from dualnet.engine.net.net import Net
from dualnet.engine.proto.caffe_pb2 import TEST

EMPTY = """
layer { name: "in" type: "Input" top: "in" input_param { shape { dim: 2 dim: 2 dim: 1 dim: 0 } } }
layer { name: "odd" type: "Convolution" bottom: "in" top: "odd"
  convolution_param { num_output: 3 kernel_size: 1 pad: 2 } }
"""

WIDE = """
layer {{ name: "in" type: "Input" top: "in"
  input_param {{ shape {{ dim: 2 dim: 5 dim: 3 dim: 3 }} }} }}
layer {{ name: "norm" type: "LRN" bottom: "in" top: "norm"
  lrn_param {{ local_size: {size} alpha: {alpha} beta: 0.75 }} }}
"""


def test_error_names_layer_direction_and_shapes(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(EMPTY)
    net = Net(str(path), TEST)
    with pytest.raises(CaffeError) as caught:
        net.forward()
    message = str(caught.value)
    assert message.startswith("layer 'odd' (Convolution) cannot run forward on bottoms of shapes")
    assert "(2, 2, 1, 0)" in message and "\n" not in message


def test_window_wider_than_the_channels_is_as_quick_as_one_that_covers_them(tmp_path):
    outputs = []
    values = np.random.randn(2, 5, 3, 3).astype(np.float32)
    # alpha is divided by the window's size: the same weight on the same five channels.
    for size, alpha in ((9, 0.9), (2147483647, 0.1 * 2147483647)):
        path = tmp_path / f"{size}.prototxt"
        path.write_text(WIDE.format(size=size, alpha=alpha))
        net = Net(str(path), TEST)
        net.blobs["in"].data[...] = values
        outputs.append(net.forward()["norm"].copy())
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-5)
