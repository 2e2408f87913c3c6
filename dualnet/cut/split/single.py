"""The single net that is split, and the solver that goes on training it whole."""

from __future__ import annotations

import os
from typing import Any, NamedTuple, Optional

from dualnet.cut.graph import read_net
from dualnet.cut.prototxt import Source
from dualnet.cut.solver_nets import net_of, test_nets
from dualnet.errors import ConfigError

__all__ = ["SingleNet", "single_net"]


class SingleNet(NamedTuple):
    """What is split.

    Attributes:
        net: A NetParameter of both phases.
        origins: As of `SolverNet`: None where the file that was named has all of it.
        solver: The solver that trains it as it is; None if one has to be written.
        remarks: What the user should know, a line each.
    """

    net: Any
    origins: Optional[list[Optional[int]]]
    solver: Optional[str]
    remarks: list[str]

    def source(self, text: str, path: str) -> Source:
        """The text of its layers, where `text` is what `path` holds."""
        if self.origins is None:
            return Source(text, self.net)
        return Source(text, read_net(path)).chosen(self.origins)


def single_net(path: str, solver: Any, solver_path: str) -> SingleNet:
    """The net in a file, with the test net of its solver.

    Args:
        path: The net, or the training net, in prototxt.
        solver: The solver that goes with it.
        solver_path: Where that was read.

    Raises:
        ConfigError: A file cannot be read.
    """
    net = read_net(path)
    try:
        found = net_of(solver, solver_path)
    except ConfigError:
        # It names no net, or one that is not here: that of the file is what was asked for.
        named = solver.net or solver.train_net
        remark = [f"{solver_path} names another net, {named}; {path} is split"] if named else []
        return SingleNet(net, None, None, remark)
    remarks = []
    is_own = _same(found.path, path) or (not os.path.exists(found.path) and _holds(solver, net))
    if not is_own:
        remarks.append(f"{solver_path} names another net, {found.path}; {path} is split")
        return SingleNet(net, None, None, remarks)
    if found.origins is not None:
        remarks.append(
            f"tests are those of {found.test_path}: what differs there from {path} is in the "
            "pieces for phase TEST"
        )
    others = [test.path for test in test_nets(solver, solver_path)[1:]]
    count = max(len(solver.test_iter), len(others) + 1)
    if count > 1:
        left_out = f" ({', '.join(others)})" if others else ""
        remarks.append(
            f"{solver_path}: {count} test nets; the first is kept, and the others{left_out} are "
            "left out, as one test net is supported"
        )
        return SingleNet(found.net, found.origins, None, remarks)
    return SingleNet(found.net, found.origins, solver_path, remarks)


def _holds(solver: Any, net: Any) -> bool:
    """Whether the solver holds the very net that is in the file."""
    held = [solver.net_param] * solver.HasField("net_param")
    held += [solver.train_net_param] * solver.HasField("train_net_param")
    return any(one.layer == net.layer for one in held)


def _same(one: str, two: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(two)
