"""The YAML that `dualnet train` runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from dualnet import config
from dualnet.cut.prototxt import commented
from dualnet.cut.split.headers import Exchanged

__all__ = ["write_yaml"]

_DEVICE = "device: cpu        # or the number of a GPU"


def write_yaml(
    title: str,
    solvers: Mapping[str, str],
    cuts: Sequence[Exchanged],
    coupling: Mapping[str, str],
    command: str,
) -> str:
    """The run's configuration.

    Args:
        title: The run's name.
        solvers: A piece's name to its solver prototxt; `single` may be absent.
        cuts: What passes each cut, in order.
        coupling: `target`, `tie` and `loss`.
        command: How to repeat this.

    Raises:
        ConfigError: A value of `coupling` is unknown, or two exclude each other.
    """
    pieces = {name: {"solver": path} for name, path in solvers.items() if name != "single"}
    sections: dict[str, Any] = {"name": title, "coupling": dict(coupling)}
    sections["pieces"] = list(pieces.values())
    sections["cuts"] = [_section(cut) for cut in cuts]
    config.from_dict(sections, "dualnet split")
    places = "; ".join(", ".join(cut.blobs) for cut in cuts)
    which = "Both pieces" if len(pieces) == 2 else f"The {len(pieces)} pieces"
    lines = [commented(f"{which} of {title}, cut at {places}. Made by", command)]
    lines.append(f"name: {_scalar(title)}\nseed: 1\n\n")
    if "single" in solvers:
        lines.append(f"single:\n  solver: {_scalar(solvers['single'])}\n")
    if len(pieces) == 2:
        lines += [f"{name}:\n  {_solver(piece)}\n  {_DEVICE}\n" for name, piece in pieces.items()]
        lines += ["\ncut:\n", _indented(_cut_text(cuts[0], sections["cuts"][0]), "  ")]
    else:
        lines.append("pieces:\n")
        lines += [
            f"  # {name}\n  - {_solver(piece)}\n    {_DEVICE}\n" for name, piece in pieces.items()
        ]
        lines.append("\ncuts:\n")
        for cut, section in zip(cuts, sections["cuts"]):
            text = _indented(_cut_text(cut, section), "    ")
            lines += [f"  # net{cut.number} and net{cut.number + 1}\n", f"  - {text.lstrip()}"]
    lines.append("\ncoupling:\n")
    lines += [f"  {key}: {_scalar(value)}\n" for key, value in coupling.items()]
    return "".join(lines)


def _section(cut: Exchanged) -> dict[str, Any]:
    """A cut as the configuration has it."""
    section: dict[str, Any] = {"blobs": cut.blobs, "labels": cut.labels, "dual": cut.dual}
    if cut.compared != cut.default_compared:
        section["compared"] = cut.compared
    return section


def _cut_text(cut: Exchanged, section: Mapping[str, Any]) -> str:
    lower, upper = f"net{cut.number}", f"net{cut.number + 1}"
    lines = [_sequence(key, section[key]) for key in ("blobs", "labels")]
    lines.append(f"# {lower}'s layers: their copies in {upper}\n")
    lines.append(_mapping("dual", cut.dual))
    if "compared" in section:
        lines.append(f"# {lower}'s blobs: those of {upper} that its losses compare them with\n")
        lines.append(_mapping("compared", cut.compared))
    return "".join(lines)


def _solver(piece: Mapping[str, str]) -> str:
    return f"solver: {_scalar(piece['solver'])}"


def _indented(text: str, by: str) -> str:
    return "".join(f"{by}{line}" for line in text.splitlines(keepends=True))


def _scalar(value: str) -> str:
    """A YAML scalar that reads back as this string."""
    plain = str(yaml.safe_dump(value, default_flow_style=True, width=2**20)).split("\n")[0]
    return plain if yaml.safe_load(plain) == value else json.dumps(value)


def _sequence(key: str, values: list[str]) -> str:
    """On a line if it fits there."""
    flow = f"[{', '.join(map(_scalar, values))}]"
    if len(flow) < 90 and yaml.safe_load(flow) == values:
        return f"{key}: {flow}\n"
    return f"{key}:\n" + "".join(f"  - {_scalar(value)}\n" for value in values)


def _mapping(key: str, values: Mapping[str, str]) -> str:
    items = "".join(f"  {_scalar(one)}: {_scalar(two)}\n" for one, two in values.items())
    return f"{key}:\n{items}"
