"""A random net from a seed: valid for both providers, and different for each seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.engine.differential.losses import LOSSES
from tests.engine.differential.pointwise import POINTWISE
from tests.engine.differential.spatial import SPATIAL
from tests.engine.differential.structure import STRUCTURE
from tests.engine.differential.writer import Given, Writer

__all__ = ["RandomNet", "random_net"]

#: A blob with more values than this is not built upon.
MOST_VALUES = 3000


@dataclass(frozen=True)
class RandomNet:
    """A net to compare.

    Attributes:
        seed: what it came from; also seeds weights and inputs.
        text: its prototxt.
        inputs: how to draw each Input layer's values.
        phase: 0 TRAIN, 1 TEST.
        passes: how many forward passes to run.
        backwards: how many backward passes to run after them.
        path: a folder of Python layers.
    """

    seed: int
    text: str
    inputs: dict[str, Given]
    phase: int = 0
    passes: int = 1
    backwards: int = 1
    path: str = ""


def random_net(seed: int) -> RandomNet:
    """The net of a seed: some inputs, 3 to 14 layers on them, and losses on loose ends."""
    draw = np.random.default_rng([2017, seed])
    writer = Writer(draw, phase=int(draw.random() < 0.3), force=bool(draw.random() < 0.4))
    batch = writer.pick(1, 4)
    axes = writer.one_of(["image", "image", "image", "image", "vector", "sequence", "volume"])
    for _ in range(writer.pick(1, 2)):
        writer.given({
            "image": (batch, writer.pick(1, 4), writer.pick(3, 10), writer.pick(3, 10)),
            "vector": (batch, writer.pick(2, 8)),
            "sequence": (writer.pick(2, 5), batch, writer.pick(2, 6)),
            "volume": (batch, writer.pick(1, 3), *(writer.pick(2, 5) for _ in range(3))),
        }[axes])  # fmt: skip
    families = [SPATIAL, SPATIAL, POINTWISE, POINTWISE, STRUCTURE]
    for _ in range(writer.pick(3, 14)):
        for _ in range(20):  # until one fits
            # Later blobs are likelier, so that nets grow deep as well as wide.
            place = int(len(writer.pool) * draw.random() ** 0.4)
            x = writer.pool[min(place, len(writer.pool) - 1)]
            family = families[writer.pick(0, len(families) - 1)]
            maker = family[writer.pick(0, len(family) - 1)]
            if x.shape and np.prod(x.shape) <= MOST_VALUES and maker(writer, x):
                break
    loose = [v for v in writer.pool if v.readers == 0 and v.shape] or writer.pool[-1:]
    for index in draw.permutation(len(loose))[: writer.pick(1, 3)]:
        for _ in range(5):
            if LOSSES[writer.pick(0, len(LOSSES) - 1)](writer, loose[index]):
                break
    passes = 2 if writer.chance(0.2) else 1
    backwards = 2 if writer.chance(0.15) and not writer.once else 1
    return RandomNet(seed, writer.text, dict(writer.inputs), writer.phase, passes, backwards)
