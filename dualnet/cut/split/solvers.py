"""The solvers of both nets: the single net's, for another net."""

from __future__ import annotations

import re
from typing import Any, Optional

from google.protobuf import text_format

from dualnet.backend import caffe_pb2
from dualnet.config.targets import TARGETS
from dualnet.cut.check import check_iter_size
from dualnet.cut.prototxt import Written, format_fields, replace_values
from dualnet.cut.solver_nets import OTHER_NETS

__all__ = ["check_solver", "write_solver"]

_TRAIN_NET = re.compile(r"\btrain_net(?=\s*:)")
_TEST_NET = re.compile(r"""\btest_net\s*:\s*("[^"\n]*"|'[^'\n]*')[ \t]*\n?""")


def check_solver(solver: Any, path: str, target: Optional[str] = None) -> list[str]:
    """Refuse what pieces cannot do; returns remarks on what they do differently.

    Raises:
        ConfigError: As said.
    """
    # An unknown target is refused where the YAML is made.
    check_iter_size(solver, path, targets=[target] if target in TARGETS else [])
    if solver.clip_gradients > 0:
        return [
            f"{path}: clip_gradients {solver.clip_gradients:g}: each piece clips by the norm of "
            "its own gradient, the single net by that of all of it"
        ]
    return []


def write_solver(text: str, solver: Any, piece: str, net_path: str) -> Written:
    """The single net's solver for another net: the same text but for that and snapshot_prefix.

    Of several test nets the first is kept.

    Args:
        text: The single net's solver prototxt.
        solver: What was read from it.
        piece: `net1`, `net2`, … or `single`.
        net_path: The train_test prototxt.
    """
    wanted = caffe_pb2.SolverParameter()
    wanted.CopyFrom(solver)
    for field in OTHER_NETS:
        wanted.ClearField(field)
    for field in ("test_iter", "test_state"):
        del getattr(wanted, field)[1:]
    wanted.net = net_path
    if solver.train_net:
        text = _TEST_NET.sub("", _TRAIN_NET.sub("net", text))
    values = {"net": [net_path]}
    if solver.snapshot_prefix:
        prefix = solver.snapshot_prefix
        is_single = re.search(r"(^|[/_])single$", prefix) is not None
        wanted.snapshot_prefix = (prefix[: -len("single")] if is_single else f"{prefix}_") + piece
        values["snapshot_prefix"] = [wanted.snapshot_prefix]
    edited = replace_values(text, values, depth=0)
    if edited is not None:
        read = caffe_pb2.SolverParameter()
        try:
            text_format.Parse(edited, read)
        except text_format.ParseError:
            pass
        else:
            if read == wanted:
                return Written(edited, 0)
    comments = len(re.findall(r"^[^\n\"']*#", text, re.MULTILINE))
    return Written(format_fields(wanted), comments)
