"""The configs that are measured: the given one, or its single net cut elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence

from dualnet import config as cfg
from dualnet.config import Config
from dualnet.cut.graph import read_solver
from dualnet.cut.solver_nets import net_of
from dualnet.cut.split import Request, split, write
from dualnet.errors import UsageError

__all__ = ["Case", "cases", "overridden", "parse_cut", "single_net"]


class Case:
    """A run to measure.

    Args:
        path: Its YAML file.
        overrides: What `--set` says.
    """

    def __init__(self, path: str, overrides: Sequence[str]) -> None:
        self.path, self.overrides = path, list(overrides)
        self.config = cfg.load(path, self.overrides)
        self.cut = "+".join(self.config.cut.blobs)
        self.dual = list(self.config.cut.dual)

    @property
    def names(self) -> dict[str, str]:
        """What a record says of it."""
        return {"net": self.config.name, "cut": self.cut, "dual": "+".join(self.dual)}


def parse_cut(text: str) -> tuple[list[str], list[str]]:
    """The cut blobs and dual layers of a `--cut pool1:conv2`; several stand with commas between.

    Raises:
        UsageError: It is no such text.
    """
    at, colon, dual = text.partition(":")
    if not (at and colon and dual):
        raise UsageError(f"--cut {text}: expected BLOB:LAYER, as pool1:conv2")
    return at.split(","), dual.split(",")


def cases(path: str, overrides: Sequence[str], cuts: Sequence[str], folder: str) -> list[Case]:
    """What to measure.

    Args:
        path: The config.
        overrides: What `--set` says.
        cuts: Where to cut its single net instead, each as `pool1:conv2`; empty: as the config has
            it.
        folder: For the nets of these cuts.

    Raises:
        ConfigError: The net cannot be cut so, or the config names no single net.
    """
    given = Case(path, overrides)
    if not cuts:
        return [given]
    found = []
    for number, text in enumerate(cuts):
        at, dual = parse_cut(text)
        solver = given.config.single.solver
        output = os.path.join(folder, f"cut{number}")
        request = Request(
            single_net(given.config, path), [(at, dual)], output, solver,
            given.config.coupling.target, given.config.coupling.tie,
        )  # fmt: skip
        result = split(request)
        write(request, result)
        named = f"name={given.config.name}"
        found.append(Case(result.yaml, [named, f"single.solver={solver}", *overrides]))
    return found


def single_net(config: Config, path: str) -> str:
    """The prototxt of a config's single net.

    Raises:
        UsageError: It has none.
    """
    if not config.single.solver:
        raise UsageError(f"{path}: single.solver: not given; name the uncut net's solver prototxt")
    return net_of(read_solver(config.single.solver), config.single.solver).path


def overridden(settings: Sequence[str]) -> list[str]:
    """`--set` and its values, as words of a command."""
    return [word for setting in settings for word in ("--set", setting)]
