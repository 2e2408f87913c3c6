"""Images with labels, in memory or mapped into it, and how to split them fairly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

__all__ = ["ImageSequence", "Images", "Reordered", "split_stratified"]


class ImageSequence(Protocol):
    """What an array of images and some of them in another order have in common."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""

    def __len__(self) -> int:
        """N."""

    def __iter__(self) -> Iterator[np.ndarray]:
        """Each image, (C, H, W) uint8."""


class Reordered:
    """View of images in another order, without copying: the array may be a memory map.

    Args:
        images: (M, C, H, W) uint8.
        order: (N,) the positions of those that belong here.
    """

    def __init__(self, images: np.ndarray, order: np.ndarray) -> None:
        self._images, self._order = images, order

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W)."""
        return (len(self._order), *self._images.shape[1:])

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._images[position] for position in self._order)


class Images(NamedTuple):
    """One part of a data set."""

    #: (N, C, H, W) uint8.
    images: ImageSequence
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
