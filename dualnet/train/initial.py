"""The weights that nets begin with, as caffemodels.

Different nets draw different random numbers from one seed, so a single net and two halves begin
apart. `train.weights` with these files lets them begin together.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence

from dualnet.config import Config
from dualnet.train.half import Half
from dualnet.train.resolve import resolve, write

__all__ = ["save_initial_weights"]


def save_initial_weights(config: Config, roles: Sequence[str], directory: str) -> list[str]:
    """Build each role's net as its training would and save it as `DIRECTORY/ROLE.caffemodel`.

    Returns:
        The paths written.
    """
    paths = []
    for role in roles:
        with tempfile.TemporaryDirectory() as scratch:
            resolved = resolve(config, role, scratch)
            write(resolved)
            net = Half(config, resolved).train.net
        os.makedirs(directory, exist_ok=True)
        paths.append(os.path.join(directory, f"{role}.caffemodel"))
        net.save(paths[-1])
    return paths
