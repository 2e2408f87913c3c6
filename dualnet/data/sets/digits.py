"""scikit-learn's handwritten digits: 1,797 images of 8 x 8 pixels, grey values 0 to 16.

They are the test part of the UCI data set "Optical Recognition of Handwritten Digits" and lie
inside scikit-learn itself, so they need no download. The split is fixed: 360 test images, which
batches of 60 divide, and 1,437 to train on, each digit in the same share in both (stratified).
"""

from __future__ import annotations

import numpy as np

from dualnet.data.images import Images, split_stratified
from dualnet.errors import DualnetError

__all__ = ["CLASSES", "read_digits"]

CLASSES = tuple("0123456789")
TEST_COUNT = 360
_SEED = 1797


def read_digits() -> tuple[Images, Images]:
    """Load the digits and split them, always in the same way.

    Returns:
        Train (1437) and test (360) images, (N, 1, 8, 8) uint8 from 0 to 16, in mixed order.

    Raises:
        DualnetError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits  # late: it takes a second, and only digits need it
    except ImportError as error:
        raise DualnetError(
            f"the digits come with scikit-learn, which cannot be imported ({error}): install "
            'scikit-learn, as pip install "dualnet[digits]" does'
        ) from error
    digits = load_digits()
    images = digits.images.astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = digits.target.astype(np.uint8)
    train, test = split_stratified(labels, TEST_COUNT, _SEED)
    return Images(images[train], labels[train]), Images(images[test], labels[test])
