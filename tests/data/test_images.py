"""Stratified splits."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dualnet.data.images import split_stratified


@settings(max_examples=100, deadline=None)
@given(
    labels=st.lists(st.integers(0, 5), min_size=2, max_size=80),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_parts_are_a_partition_with_equal_shares(labels, share, seed):
    labels = np.array(labels)
    count = int(share * len(labels))
    train, test = split_stratified(labels, count, seed)
    assert len(test) == count
    assert sorted([*train, *test]) == list(range(len(labels)))
    for label in np.unique(labels):
        exact = np.sum(labels == label) * count / len(labels)
        assert abs(np.sum(labels[test] == label) - exact) < 1


def test_the_seed_alone_chooses():
    labels = np.arange(100) % 3
    first, second, other = (split_stratified(labels, 30, seed) for seed in (1, 1, 2))
    assert np.array_equal(first[0], second[0]) and np.array_equal(first[1], second[1])
    assert not np.array_equal(first[1], other[1])
