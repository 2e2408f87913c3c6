"""The weights that nets begin with, as caffemodels.

Different nets draw different random numbers from one seed, so a single net and a chain begin
apart. `train.weights` with these files lets them begin together; one that is given already counts
here as in a training.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import Callable

from dualnet.config import Config
from dualnet.rundir import RunDir
from dualnet.training.net.nets import Nets
from dualnet.training.net.resolve import resolve, write

__all__ = ["save_initial_weights"]


def save_initial_weights(
    config: Config,
    pieces: Sequence[str],
    directory: str,
    say: Callable[[str], None] = lambda line: None,
) -> list[str]:
    """Build each piece's net as its training would and save it as `DIRECTORY/PIECE.caffemodel`.

    Args:
        config: The run; with `train.weights` the nets begin with these.
        pieces: Their names.
        directory: Where the files go.
        say: Takes lines on what came from `train.weights`.

    Returns:
        The paths written.

    Raises:
        ConfigError: A prototxt is wrong, or a file of `train.weights` does not fit.
    """
    paths = []
    for name in pieces:
        with tempfile.TemporaryDirectory() as scratch:
            resolved = resolve(config, RunDir(scratch).piece(name))
            write(resolved)
            nets = Nets(config, resolved)
            nets.copy_weights(say, say)
            net = nets.train.net
        os.makedirs(directory, exist_ok=True)
        paths.append(os.path.join(directory, f"{name}.caffemodel"))
        net.save(paths[-1])
    return paths
