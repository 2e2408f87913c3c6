"""A whole database in memory, for comparisons."""

from __future__ import annotations

import numpy as np

from dualnet.data.databases.lmdb import read_lmdb


def load_lmdb(path):
    """Images (N, C, H, W), all of one shape, and labels (N,) int64."""
    records = list(read_lmdb(path))
    labels = np.array([record.label for record in records], np.int64)
    return np.stack([record.image for record in records]), labels
