"""Fillers: ranges, moments and seeds."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.core import filler, random
from dualnet.engine.core.blob import Blob
from dualnet.engine.errors import PrototxtError
from dualnet.engine.proto.caffe_pb2 import FillerParameter


def filled(shape, **settings):
    blob = Blob(shape)
    filler.fill(blob, FillerParameter(**settings))
    return blob.data.copy()


def test_constant_is_the_default():
    assert not filled((2, 3)).any()
    assert (filled((2, 3), value=2) == 2).all()


def test_uniform_and_gaussian():
    x = filled((100, 100), type="uniform", min=2, max=5)
    assert x.min() >= 2 and x.max() < 5 and abs(x.mean() - 3.5) < 0.05
    x = filled((100, 100), type="gaussian", mean=1, std=0.1)
    assert abs(x.mean() - 1) < 0.01 and abs(x.std() - 0.1) < 0.01


@pytest.mark.parametrize(
    ("norm", "n"), [("FAN_IN", 50 * 4), ("FAN_OUT", 100 * 4), ("AVERAGE", 75 * 4)]
)
def test_xavier_and_msra(norm, n):
    norm = FillerParameter.VarianceNorm.Value(norm)
    x = filled((100, 50, 2, 2), type="xavier", variance_norm=norm)
    bound = np.sqrt(3 / n)
    assert bound * 0.99 < abs(x).max() <= bound
    assert abs(x.std() - bound / np.sqrt(3)) < bound * 0.02
    x = filled((100, 50, 2, 2), type="msra", variance_norm=norm)
    assert abs(x.std() / np.sqrt(2 / n) - 1) < 0.03


def test_sparse_gaussian_keeps_a_fraction():
    x = filled((50, 200), type="gaussian", sparse=5)
    assert abs((x != 0).mean() - 0.1) < 0.02
    with pytest.raises(PrototxtError, match="sparse"):
        filled((5, 5), type="uniform", sparse=2)


def test_positive_unitball_rows_sum_to_one():
    x = filled((4, 3, 5), type="positive_unitball")
    assert (x >= 0).all()
    np.testing.assert_allclose(x.sum(axis=(1, 2)), 1, rtol=1e-5)


def test_bilinear_upsamples_by_two():
    x = filled((1, 1, 4, 4), type="bilinear")
    ramp = np.array([0.25, 0.75, 0.75, 0.25])
    np.testing.assert_allclose(x[0, 0], np.outer(ramp, ramp))


def test_seed_repeats_and_unknown_types_are_listed():
    random.set_random_seed(9)
    first = filled((3, 3), type="gaussian")
    random.set_random_seed(9)
    np.testing.assert_array_equal(filled((3, 3), type="gaussian"), first)
    assert not np.array_equal(filled((3, 3), type="gaussian"), first)
    with pytest.raises(PrototxtError, match="'gauss'; the types are: .*gaussian"):
        filled((1,), type="gauss")
