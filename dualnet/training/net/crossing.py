"""What of a batch crosses a cut on its way up."""

from __future__ import annotations

import numpy as np

from dualnet.config import Cut
from dualnet.training.net.driver import NetDriver

__all__ = ["batch_of"]


def batch_of(net: NetDriver, cut: Cut) -> dict[str, np.ndarray]:
    """The cut blobs, (N, C, H, W) each, and the labels, mostly (N,).

    Args:
        net: Has just made them, or was fed with them.
        cut: The cut above the net.

    Returns:
        To be used before the net's next forward pass, which may overwrite them.
    """
    labels = {label: _flat(net.read_data(label)) for label in cut.labels}
    return {**{blob: net.read_data(blob) for blob in cut.blobs}, **labels}


def _flat(labels: np.ndarray) -> np.ndarray:
    """One label a sample as (N,), which MemoryData wants; what is larger stays as it is."""
    return labels.reshape(-1) if labels.size == len(labels) else labels
