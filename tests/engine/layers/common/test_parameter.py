"""Parameter: shares its memory with the top, learns, and is stored."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.net.net import Net
from dualnet.engine.solvers.solver_types import get_solver
from tests.engine.harness import make_layer

SHAPE = "parameter_param { shape { dim: 2 dim: 3 } }"
NET = f"""
layer {{ name: "offset" type: "Parameter" top: "offset" {SHAPE} }}
%s
layer {{ name: "loss" type: "Reduction" bottom: "offset%s" top: "loss" loss_weight: 2
  reduction_param {{ operation: SUMSQ }} }}
"""


def test_top_and_parameter_are_one_memory():
    rig = make_layer(f'type: "Parameter" {SHAPE}')
    assert rig.layer.blobs[0].dims == rig.top[0].dims == (2, 3)
    np.testing.assert_array_equal(rig.forward()[0], np.zeros((2, 3)))
    rig.layer.blobs[0].data[1, 2] = 4
    assert rig.forward()[0][1, 2] == 4
    rig.top[0].diff[0, 1] = 5
    assert rig.layer.blobs[0].diff[0, 1] == 5


def test_stored_values_and_a_scalar():
    rig = make_layer('type: "Parameter" blobs { data: 7 shape { } }')
    np.testing.assert_array_equal(rig.forward()[0], np.float32(7))


@pytest.mark.parametrize("flatten", [False, True])
def test_gradient(tmp_path, flatten):
    """A second backward pass overwrites the gradient, as in Caffe; a Flatten does not lose it."""
    middle = 'layer { name: "f" type: "Flatten" bottom: "offset" top: "offset_flat" }'
    (tmp_path / "net.prototxt").write_text(NET % ((middle, "_flat") if flatten else ("", "")))
    net = Net(tmp_path / "net.prototxt", 0)
    blob = net.params["offset"][0]
    blob.data[...] = values = np.random.randn(2, 3).astype(np.float32)
    for _ in range(2):
        net.forward()
        net.backward()
        np.testing.assert_allclose(blob.diff, 4 * values, rtol=1e-6)


def test_it_learns_and_is_stored(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET % ("", ""))
    (tmp_path / "solver.prototxt").write_text(
        f'net: "{tmp_path}/net.prototxt" base_lr: 0.1 lr_policy: "fixed" display: 0 max_iter: 3'
    )
    solver = get_solver(tmp_path / "solver.prototxt")
    values = np.random.randn(2, 3).astype(np.float32)
    solver.net.params["offset"][0].data[...] = values
    solver.step(3)
    learned = solver.net.params["offset"][0].data
    np.testing.assert_allclose(learned, values * 0.6**3, rtol=1e-5)
    solver.net.save(tmp_path / "net.caffemodel")
    other = Net(tmp_path / "net.prototxt", 1, weights=tmp_path / "net.caffemodel")
    other.forward()
    np.testing.assert_array_equal(other.blobs["offset"].data, learned)
