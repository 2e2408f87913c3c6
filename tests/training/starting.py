"""Starts of pieces in the test's own process, as most tests write them."""

from __future__ import annotations

from dualnet.training.start.run import train_piece

__all__ = ["CHAIN", "train_one", "train_single"]

#: The names of a chain of two.
CHAIN = ("net1", "net2")


def train_single(config, run, resume=False, progress=None, stopper=None):
    """Train the uncut net in a run directory."""
    return train_piece(config, run.piece("single"), resume, progress, stopper)


def train_one(config, piece, progress=None, stopper=None):
    """Train net1 or net2; the other one is started elsewhere."""
    return train_piece(config, piece, False, progress, stopper)
