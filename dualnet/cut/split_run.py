"""The solvers of both nets and the YAML that `dualnet train` runs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml
from google.protobuf import text_format

from dualnet import config
from dualnet.backend import caffe_pb2
from dualnet.cut.prototxt import Written, commented, format_fields, replace_values
from dualnet.cut.split_gradient import Flow
from dualnet.cut.split_names import Names
from dualnet.cut.split_sides import Sides
from dualnet.errors import ConfigError

__all__ = ["check_solver", "write_solver", "write_yaml"]

#: What else than `net` may name or hold a solver's nets.
_OTHER_NETS = ("train_net", "test_net", "net_param", "train_net_param", "test_net_param")


def check_solver(solver: Any, path: str) -> list[str]:
    """Refuse what two halves cannot do; returns remarks on what they do differently.

    Raises:
        ConfigError: As said.
    """
    if solver.iter_size != 1:
        raise ConfigError(
            f"{path}: iter_size: {solver.iter_size}: the halves exchange every batch; set 1 and a "
            "larger batch_size in the data layer"
        )
    for field in ("test_iter", "test_state", "test_net"):
        count = len(getattr(solver, field))
        if count > 1:
            raise ConfigError(
                f"{path}: {field}: {count} of them: one test net is supported; keep one"
            )
    if solver.clip_gradients > 0:
        return [
            f"{path}: clip_gradients {solver.clip_gradients:g}: each half clips by the norm of its "
            "own gradient, the single net by that of all of it"
        ]
    return []


def write_solver(text: str, solver: Any, role: str, net_path: str) -> Written:
    """The single net's solver for a half: the same text but for its net and snapshot_prefix.

    Args:
        text: The single net's solver prototxt.
        solver: What was read from it.
        role: `net1` or `net2`.
        net_path: The half's train_test prototxt.
    """
    wanted = caffe_pb2.SolverParameter()
    wanted.CopyFrom(solver)
    for field in _OTHER_NETS:
        wanted.ClearField(field)
    wanted.net = net_path
    values = {"net": [net_path]}
    if solver.snapshot_prefix:
        prefix = solver.snapshot_prefix
        is_single = re.search(r"(^|[/_])single$", prefix) is not None
        wanted.snapshot_prefix = (prefix[: -len("single")] if is_single else f"{prefix}_") + role
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


def write_yaml(
    sides: Sides,
    flow: Flow,
    names: Names,
    title: str,
    solvers: Mapping[str, str],
    coupling: Mapping[str, str],
    command: str,
) -> str:
    """The run's configuration.

    Args:
        sides, flow, names: The cut.
        title: The run's name.
        solvers: Role to its solver prototxt; `single` may be absent.
        coupling: `target`, `tie` and `loss`.
        command: How to repeat this.

    Raises:
        ConfigError: A value of `coupling` is unknown, or two exclude each other.
    """
    blobs = [names.net1[stream] for stream in flow.blobs]
    labels = [names.net1[stream] for stream in flow.labels]
    compared = {names.net1[pair.stream]: names.partner(pair.stream) for pair in flow.compared}
    # Left out, `compared` means the first top of the last pair, sent under its layer's name.
    last = sides.dual[-1]
    first_top = names.net1[sides.wiring.makes[last][0]]
    default = {first_top: names.copies[sides.wiring.layers[last].name]}
    cut: dict[str, Any] = {"blobs": blobs, "labels": labels, "dual": dict(names.copies)}
    if compared != default:
        cut["compared"] = compared
    halves = {role: {"solver": path} for role, path in solvers.items()}
    config.from_dict(
        {"name": title, **halves, "cut": cut, "coupling": dict(coupling)}, "dualnet split"
    )
    head = commented(f"Both halves of {title}, cut at {', '.join(blobs)}. Made by", command)
    lines = [head, f"name: {_scalar(title)}\nseed: 1\n\n"]
    for role, path in solvers.items():
        lines.append(f"{role}:\n  solver: {_scalar(path)}\n")
        if role != "single":
            lines.append("  device: cpu        # or the number of a GPU\n")
    lines.append(f"\ncut:\n{_sequence('blobs', blobs)}{_sequence('labels', labels)}")
    lines.append("  # net1's layers: their copies in net2\n")
    lines.append(_mapping("dual", names.copies))
    if "compared" in cut:
        lines.append("  # net1's blobs: those of net2 that its losses compare them with\n")
        lines.append(_mapping("compared", compared))
    lines.append("\ncoupling:\n")
    lines += [f"  {key}: {_scalar(value)}\n" for key, value in coupling.items()]
    return "".join(lines)


def _scalar(value: str) -> str:
    """A YAML scalar that reads back as this string."""
    plain = str(yaml.safe_dump(value, default_flow_style=True, width=2**20)).split("\n")[0]
    return plain if yaml.safe_load(plain) == value else json.dumps(value)


def _sequence(key: str, values: list[str]) -> str:
    """On a line if it fits there."""
    flow = f"[{', '.join(map(_scalar, values))}]"
    if len(flow) < 90 and yaml.safe_load(flow) == values:
        return f"  {key}: {flow}\n"
    return f"  {key}:\n" + "".join(f"    - {_scalar(value)}\n" for value in values)


def _mapping(key: str, values: Mapping[str, str]) -> str:
    items = "".join(f"    {_scalar(one)}: {_scalar(two)}\n" for one, two in values.items())
    return f"  {key}:\n{items}"
