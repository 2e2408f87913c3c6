"""The engine's random numbers: one generator a device, all restarted by `set_random_seed`.

Fillers, dropout and data augmentation draw from here and from nowhere else, so that reseeding
before a forward pass repeats its dropout masks, as it does in BVLC Caffe.
"""

from __future__ import annotations

import numpy as np
import torch

from dualnet.engine.core import device
from dualnet.engine.core.call import integer

__all__ = ["generator", "numpy_generator", "set_random_seed"]

_generators: dict[torch.device, torch.Generator] = {}
_seed: int = torch.seed() % 2**63


def set_random_seed(seed: int) -> None:
    """Restarts every generator of the engine.

    Args:
        seed: a non-negative integer.
    """
    global _seed
    _seed = integer(seed, "set_random_seed(seed)", "seed")
    for one in _generators.values():
        one.manual_seed(_seed)


def generator(where: torch.device | None = None) -> torch.Generator:
    """The generator of a device.

    Args:
        where: a device; None for the one that nets run on.
    """
    where = device.current() if where is None else where
    if where not in _generators:
        _generators[where] = torch.Generator(where)
        _generators[where].manual_seed(_seed)
    return _generators[where]


def numpy_generator() -> np.random.Generator:
    """A new NumPy generator, seeded by the next draw of the CPU generator.

    The draw is one of those that fillers take: a net with one more layer that asks for a generator
    (data augmentation) has other initial weights in all layers that are built after it.
    """
    draw = torch.randint(2**62, (1,), generator=generator(torch.device("cpu")))
    return np.random.default_rng(int(draw))
