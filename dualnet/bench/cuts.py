"""The chains that are measured: the config's own, or its single net cut elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence

from dualnet import config as cfg
from dualnet.config import Config
from dualnet.cut.graph import read_solver
from dualnet.cut.solver_nets import net_of
from dualnet.cut.split import Request, split, write
from dualnet.errors import UsageError

__all__ = ["Case", "cases", "parse_chain", "single_net", "spelled"]

#: Cut blobs and dual layers of a cut.
CutNames = tuple[list[str], list[str]]


class Case:
    """A chain to measure.

    Args:
        path: Its YAML file.
        overrides: What `--set` says.
        cuts: Its cuts in the single net's names; None: as the config calls them.

    Attributes:
        chain: Its cuts as `--cut` takes them.
    """

    def __init__(self, path: str, overrides: Sequence[str], cuts: Sequence[CutNames] | None = None):
        self.path, self.overrides = path, list(overrides)
        self.config = cfg.load(path, self.overrides)
        own = [(list(cut.blobs), list(cut.dual)) for cut in self.config.cuts]
        self.cuts: list[CutNames] = list(cuts) if cuts is not None else own
        self.chain = spelled(self.cuts)

    @property
    def names(self) -> dict[str, str]:
        """What a record says of it."""
        return {"net": self.config.name, "cut": self.chain}

    @property
    def pieces(self) -> list[str]:
        """The chain's pieces; none where the config is of the single net alone."""
        return list(self.config.names) if self.config.cuts else []


def parse_chain(text: str) -> list[CutNames]:
    """The cuts of a chain: `pool1:conv2`, or `pool1:conv2+pool2:conv3` for three pieces.

    Several blobs or layers of a cut have commas between them, as in `a,b:conv4`.

    Raises:
        UsageError: It is no such text.
    """
    found = []
    for one in text.split("+"):
        at, colon, dual = one.partition(":")
        if not (at and colon and dual):
            raise UsageError(
                f"--cut {text}: expected BLOB:LAYER, as pool1:conv2, and for more than two pieces "
                "several with + between them, as pool1:conv2+pool2:conv3"
            )
        found.append((at.split(","), dual.split(",")))
    return found


def spelled(cuts: Sequence[CutNames]) -> str:
    """Cuts as `parse_chain` reads them."""
    return "+".join(f"{','.join(at)}:{','.join(dual)}" for at, dual in cuts)


def cases(path: str, overrides: Sequence[str], chains: Sequence[str], folder: str) -> list[Case]:
    """What to measure.

    Args:
        path: The config.
        overrides: What `--set` says.
        chains: Where to cut its single net instead, one chain each, as `parse_chain` reads them;
            empty: as the config has it.
        folder: For the nets of these chains.

    Raises:
        ConfigError: The net cannot be cut so, or the config names no single net.
    """
    wanted = [parse_chain(text) for text in chains]
    if not wanted:
        return [Case(path, overrides)]
    # What is set for a piece or a cut is meant for these chains, not for the config's own.
    shared = [one for one in overrides if not one.startswith(("net", "piece", "cut"))]
    given = Case(path, shared)
    found = []
    for number, cuts in enumerate(wanted):
        solver = given.config.single.solver
        output = os.path.join(folder, f"chain{number}")
        request = Request(
            single_net(given.config, path), cuts, output, solver,
            given.config.coupling.target, given.config.coupling.tie,
        )  # fmt: skip
        result = split(request)
        write(request, result)
        named = f"name={given.config.name}"
        found.append(Case(result.yaml, [named, f"single.solver={solver}", *overrides], cuts))
    return found


def single_net(config: Config, path: str) -> str:
    """The prototxt of a config's single net.

    Raises:
        UsageError: It has none.
    """
    if not config.single.solver:
        raise UsageError(f"{path}: single.solver: not given; name the uncut net's solver prototxt")
    return net_of(read_solver(config.single.solver), config.single.solver).path
