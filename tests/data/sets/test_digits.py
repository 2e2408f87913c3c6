"""The digits and their fixed split."""

from __future__ import annotations

import hashlib
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from dualnet.data.sets.digits import read_digits
from dualnet.errors import DualnetError


def test_every_digit_is_in_exactly_one_part():
    train, test = read_digits()
    assert train.images.shape == (1437, 1, 8, 8) and train.images.dtype == np.uint8
    assert test.images.shape == (360, 1, 8, 8)
    assert train.images.max() == 16
    original = load_digits()
    rows = np.hstack([original.data, original.target[:, None]]).astype(int)
    images = np.concatenate([train.images, test.images]).reshape(-1, 64).astype(int)
    labels = np.concatenate([train.labels, test.labels]).astype(int)
    found = np.hstack([images, labels[:, None]])
    assert sorted(map(tuple, rows)) == sorted(map(tuple, found))


def test_classes_have_the_same_share_and_come_mixed():
    train, test = read_digits()
    counts = np.bincount(load_digits().target)
    shares = np.bincount(test.labels)
    assert np.all(np.abs(shares - counts * 360 / 1797) < 1)
    # Caffe never shuffles: each batch of 60 must hold nearly all digits already.
    for labels in (train.labels, test.labels):
        for start in range(0, 360, 60):
            assert len(set(labels[start : start + 60].tolist())) >= 9


def test_the_split_is_the_same_everywhere():
    # Measured once with NumPy 2.4 and with NumPy 1.19; published figures rest on it.
    train, test = read_digits()
    digest = hashlib.sha256()
    for array in (*train, *test):
        digest.update(np.ascontiguousarray(array).data)
    assert digest.hexdigest() == (
        "ef052528ee2185c7124e618a1e05335fdfe6b969621f53d23232453cfc67943b"
    )


def test_a_missing_scikit_learn_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DualnetError, match="install scikit-learn"):
        read_digits()
