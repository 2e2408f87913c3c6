"""Samples as batches: padded, and put together again."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.net.batches import Rows, cut


@pytest.mark.parametrize(("samples", "batches"), [(0, 0), (1, 1), (3, 1), (4, 2), (6, 2)])
def test_rows_of_padded_batches_are_the_samples(samples, batches):
    values = np.arange(2 * samples, dtype=np.float32).reshape(samples, 2)
    rows, count = Rows(["x"]), 0
    for batch in cut({"x": values}, 3):
        assert batch["x"].shape == (3, 2) and batch["x"].dtype == np.float32
        rows.add(batch)
        count += 1
    assert count == batches
    if samples:
        np.testing.assert_array_equal(rows.first(samples)["x"], values)
    else:
        assert rows.first(0)["x"].shape == (0,)


def test_padding_is_zero_and_rows_are_copies():
    values = np.ones((1, 2), np.float32)
    (batch,) = cut({"x": values}, 2)
    np.testing.assert_array_equal(batch["x"], [[1, 1], [0, 0]])
    rows = Rows(["x"])
    rows.add(batch)
    batch["x"][...] = 7
    np.testing.assert_array_equal(rows.first(1)["x"], values)
