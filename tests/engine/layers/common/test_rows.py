"""Filter and BatchReindex against NumPy's indexing."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import CaffeError, DataError, GraphError
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer


def normal(*shape):
    return np.random.randn(*shape).astype(np.float32)


def filtered(*arrays, **more):
    return make_layer('type: "Filter"', *arrays, tops=len(arrays) - 1, **more)


@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 1, 1, 1)])
def test_filter(shape):
    x, y = normal(5, 3), normal(5, 2, 2)
    keep = np.array([0, 1, 0, -0.5, 2], np.float32)
    rig = filtered(x, y, keep.reshape(shape))
    assert [top.dims for top in rig.top] == [(5, 3), (5, 2, 2)]  # until the first pass
    for found, wanted in zip(rig.forward(), (x, y)):
        np.testing.assert_array_equal(found, wanted[keep != 0])
    check_gradients(rig, bottoms=[0, 1])


def test_filter_of_nothing_and_of_everything():
    x, g = normal(3, 2), normal(3, 2)
    rig = filtered(x, np.zeros(3, np.float32))
    assert rig.forward()[0].shape == (0, 2)
    rig.bottom[0].diff[...] = 4
    np.testing.assert_array_equal(rig.backward(g[:0], down=[True, False])[0], 0)
    rig.bottom[1].data[...] = 1
    np.testing.assert_array_equal(rig.forward()[0], x)
    np.testing.assert_array_equal(rig.backward(g, down=[True, False])[0], g)


@pytest.mark.parametrize(
    ("shapes", "tops", "message"),
    [
        ([(4, 2), (4, 2)], 1, r"singletons \(1\).*\(4, 2\)"),
        ([(4, 2), ()], 1, r"selector has shape \(\)"),
        ([(4, 2), (5, 2), (4,)], 2, r"bottom 1 has shape \(5, 2\), the selector \(4,\)"),
        ([(4, 2), (4,)], 2, "2 bottoms and 2 tops; it takes 1"),
    ],
)
def test_filter_errors(shapes, tops, message):
    with pytest.raises(CaffeError, match=message) as caught:
        make_layer('type: "Filter"', *(np.ones(s, np.float32) for s in shapes), tops=tops)
    assert "layer 'layer' (Filter)" in str(caught.value) and "\n" not in str(caught.value)


def test_filter_has_no_gradient_for_its_selector():
    rig = filtered(normal(3, 2), np.ones(3, np.float32))
    rig.forward()
    assert [rig.layer.allow_force_backward(i) for i in range(2)] == [True, False]
    with pytest.raises(GraphError, match=r"the selector \(bottom 1\)"):
        rig.backward(normal(3, 2))


def reindexed(*arrays, **more):
    return make_layer('type: "BatchReindex"', *arrays, **more)


@pytest.mark.parametrize("rows", [[3, 0, 3, 1, 3], [2], []])
def test_batch_reindex(rows):
    x = normal(4, 2, 3)
    rig = reindexed(x, np.array(rows, np.float32))
    np.testing.assert_array_equal(rig.forward()[0], x[np.array(rows, int)])
    check_gradients(rig, bottoms=[0])


def test_batch_reindex_errors():
    for rows, message in (([4], "from 4 to 4, bottom 0 has rows 0 to 3"), ([-1], "from -1 to -1")):
        rig = reindexed(normal(4, 2), np.array(rows, np.float32))
        with pytest.raises(DataError, match=message):
            rig.forward()
    with pytest.raises(CaffeError, match=r"bottom 1 must have 1 axis.*\(2, 1\)"):
        reindexed(normal(4, 2), np.zeros((2, 1), np.float32))
    rig = reindexed(normal(4, 2), np.zeros(2, np.float32))
    rig.forward()
    assert not rig.layer.allow_force_backward(1)
    with pytest.raises(GraphError, match=r"the row numbers \(bottom 1\)"):
        rig.backward(normal(2, 2))
    with pytest.raises(GraphError, match="does not allow in-place"):
        reindexed(normal(4, 2), np.zeros(2, np.float32), in_place=True)
