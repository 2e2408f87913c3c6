"""The YAML that `dualnet train` runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from dualnet import config
from dualnet.cut.prototxt import commented
from dualnet.cut.split.flow import Flow
from dualnet.cut.split.names import Names
from dualnet.cut.split.partition import Partition

__all__ = ["write_yaml"]


def write_yaml(
    partition: Partition,
    flow: Flow,
    names: Names,
    title: str,
    solvers: Mapping[str, str],
    coupling: Mapping[str, str],
    command: str,
) -> str:
    """The run's configuration.

    Args:
        partition, flow, names: The cut.
        title: The run's name.
        solvers: Role to its solver prototxt; `single` may be absent.
        coupling: `target`, `tie` and `loss`.
        command: How to repeat this.

    Raises:
        ConfigError: A value of `coupling` is unknown, or two exclude each other.
    """
    blobs = [names.net1[version] for version in flow.blobs]
    labels = [names.net1[version] for version in flow.labels]
    compared = {names.net1[pair.version]: names.partner(pair.version) for pair in flow.compared}
    # Left out, `compared` means the first top of the last pair, sent under its layer's name.
    last = partition.dual[-1]
    first_top = names.net1[partition.dataflow.makes[last][0]]
    default = {first_top: names.copies[last]}
    cut: dict[str, Any] = {"blobs": blobs, "labels": labels, "dual": names.dual}
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
    lines.append(_mapping("dual", names.dual))
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
