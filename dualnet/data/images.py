"""Images with labels in memory, and how to split them fairly."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Images", "split_stratified"]


class Images(NamedTuple):
    """One part of a data set."""

    #: (N, C, H, W) uint8.
    images: np.ndarray
    #: (N,) integers.
    labels: np.ndarray


def split_stratified(
    labels: np.ndarray, test_count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split a data set so that every class has the same share in both parts, up to one image.

    Both parts come in mixed order, since Caffe's Data layer reads sequentially and never shuffles.

    Args:
        labels: (N,) integers.
        test_count: How many images the test part gets.
        seed: Seeds the choice; NumPy's RandomState draws the same in all its versions.

    Returns:
        The indices of the train part (N - test_count,) and of the test part (test_count,).
    """
    random = np.random.RandomState(seed)
    classes, sizes = np.unique(labels, return_counts=True)
    exact = sizes * test_count / len(labels)
    shares = np.floor(exact).astype(int)
    # Largest remainders get what rounding down left over; a stable sort settles ties.
    for k in np.argsort(shares - exact, kind="stable")[: test_count - shares.sum()]:
        shares[k] += 1
    train, test = [], []
    for label, share in zip(classes, shares):
        members = random.permutation(np.flatnonzero(labels == label))
        test.append(members[:share])
        train.append(members[share:])
    return random.permutation(np.concatenate(train)), random.permutation(np.concatenate(test))
