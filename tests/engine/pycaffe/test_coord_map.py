"""Coordinate maps against what they say about real blobs, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.net.net import Net
from dualnet.engine.pycaffe import coord_map
from dualnet.engine.pycaffe.net_spec import NetSpec
from dualnet.engine.pycaffe.net_spec import layers as L


def make(**conv):
    n = NetSpec()
    n.data = L.Input(shape={"dim": [1, 1, 24, 24]})
    n.conv = L.Convolution(n.data, num_output=1, **conv)
    n.relu = L.ReLU(n.conv, in_place=True)
    n.up = L.Deconvolution(
        n.relu, convolution_param={"num_output": 1, "kernel_size": 4, "stride": 2}
    )
    return n


def test_map_of_a_convolution():
    n = make(kernel_size=3, stride=2, pad=1)
    assert coord_map.coord_map_from_to(n.conv, n.conv) == (None, 1, 0)
    axis, scale, shift = coord_map.coord_map_from_to(n.conv, n.data)
    assert axis == 1 and scale == 2 and shift == 0  # centre of window 0 is pixel 0
    axis, scale, shift = coord_map.coord_map_from_to(n.data, n.conv)
    assert scale == 0.5 and shift == 0


def test_dilation_widens_the_kernel():
    n = make(kernel_size=3, dilation=2)
    assert coord_map.coord_map_from_to(n.conv, n.data)[2] == 2


def test_crop_layer_builds_and_fits(tmp_path):
    n = make(kernel_size=4, stride=2, pad=1)
    n.crop = coord_map.crop(n.up, n.data)
    path = tmp_path / "net.prototxt"
    path.write_text(str(n.to_proto()))
    net = Net(path, 1)
    assert tuple(net.blobs["crop"].shape) == (1, 1, 24, 24)


def test_inverse_and_compose():
    one = (1, 2.0, 3.0)
    assert coord_map.compose(one, coord_map.inverse(one)) == (1, 1.0, 0.0)
    assert coord_map.compose((None, 2, 1), (2, 3, 4)) == (2, 6, 9)
    with pytest.raises(coord_map.AxisMismatchException, match="axes 1 and 2"):
        coord_map.compose((1, 1, 0), (2, 1, 0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel_size": 3, "stride": 3}, "scale mismatch"),
        ({"kernel_size": 3, "stride": 2, "pad": 1}, "noninteger offset"),
        ({"kernel_size": 25, "stride": 2}, "negative offset"),
    ],
)
def test_impossible_crops(settings, message):
    n = make(**settings)
    with pytest.raises(AssertionError, match=message):
        coord_map.crop(n.up, n.data)


def test_undefined_maps():
    n = make(kernel_size=3)
    n.ip = L.InnerProduct(n.up, num_output=2)
    with pytest.raises(coord_map.UndefinedMapException, match="InnerProduct"):
        coord_map.coord_map(n.ip.fn)
    with pytest.raises(RuntimeError, match="connected by spatial layers"):
        coord_map.coord_map_from_to(n.ip, n.data)
    with pytest.raises(ValueError, match="kernel_h, kernel_w"):
        coord_map.conv_params(make(kernel_h=3, kernel_w=3).conv.fn)


def test_sizes_of_each_axis():
    n = make(kernel_size=[3, 5], stride=[1, 2], pad=[0, 1])
    _, scale, shift = coord_map.coord_map_from_to(n.conv, n.data)
    np.testing.assert_array_equal(scale, [1, 2])
    np.testing.assert_array_equal(shift, [1, 1])
