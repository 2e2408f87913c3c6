"""How a YAML file spells a chain of pieces: two lists, or the names of its pieces and cuts.

    pieces: [{solver: …}, {solver: …, device: 0}, …]      K of them, from the data to the loss
    cuts: [{blobs: …, dual: …}, …]                        K - 1: the n-th joins piece n and n + 1

`net1:` to `netK:` name the pieces one by one, `cut1:` to `cutK-1:` the cuts, `cut:` the only one.
Both ways may be mixed: what stands under a name is put over what the list says of it, as
`--set net3.device=2` does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from dualnet.config.yaml_text import shown
from dualnet.errors import ConfigError

__all__ = ["SINGLE", "cut_name", "name_sections", "number_of", "piece_names", "read_chain"]

#: What the only piece of a chain of one is called.
SINGLE = "single"

_PIECE = re.compile(r"net([1-9]\d{0,2})")
_CUT = re.compile(r"cut([1-9]\d{0,2})")


def piece_names(pieces: int) -> tuple[str, ...]:
    """The names of a chain's pieces, from the data to the loss."""
    if pieces == 1:
        return (SINGLE,)
    return tuple(f"net{number}" for number in range(1, pieces + 1))


def number_of(name: str) -> int:
    """A piece's number in its chain, from 1; 0 if it is no piece's name."""
    if name == SINGLE:
        return 1
    found = _PIECE.fullmatch(name)
    return int(found.group(1)) if found else 0


def cut_name(index: int, pieces: int) -> str:
    """What the YAML calls a cut: `cut` if it is the only one, else `cut1`, `cut2`, …

    Args:
        index: Its place among the chain's cuts, from 0.
        pieces: Of the chain.
    """
    return "cut" if pieces == 2 else f"cut{index + 1}"


def read_chain(raw: dict[str, Any], source: str) -> dict[str, Any]:
    """Bring both spellings together into `pieces` and `cuts`, which then hold all there is.

    Args:
        raw: The YAML's keys and values.
        source: What messages begin with.

    Raises:
        ConfigError: A list is none, or a name is of no piece or cut of this chain.
    """
    rest = {key: value for key, value in raw.items() if _place(key) is None}
    pieces = _listed(rest.pop("pieces", None), "pieces", source)
    cuts = _listed(rest.pop("cuts", None), "cuts", source)
    named = [(key, value, *place) for key, value in raw.items() for place in [_place(key)] if place]
    last = [number + (kind == "cut") for _, _, kind, number in named]
    count = len(pieces) if pieces is not None else max([2, *last])
    for key, _, kind, number in named:
        most = count if kind == "piece" else count - 1
        if number > most:
            raise ConfigError(
                f"{source}: {key}: the chain has {count} pieces and {count - 1} cuts; correct the "
                "name, or add to the list `pieces`"
            )
    filled = {
        "piece": list(pieces or ()) + [{}] * (count - len(pieces or ())),
        "cut": list(cuts or ()) + [{}] * (count - 1 - len(cuts or ())),
    }
    if len(filled["cut"]) != count - 1:
        raise ConfigError(
            f"{source}: cuts: {len(filled['cut'])} for {count} pieces; {count - 1} are needed, one "
            "between each piece and the next"
        )
    for key, value, kind, number in named:
        filled[kind][number - 1] = _over(filled[kind][number - 1], value, key, source)
    return {**rest, "pieces": filled["piece"], "cuts": filled["cut"]}


def name_sections(values: dict[str, Any]) -> dict[str, Any]:
    """The other way round: the sections of a chain of two under the names that most YAML have.

    Longer chains, and the chain of one, keep their lists.
    """
    pieces, cuts = values["pieces"], values["cuts"]
    named: dict[str, Any] = {}
    for key, value in values.items():
        if len(pieces) != 2 or key not in ("pieces", "cuts"):
            named[key] = value
        elif key == "pieces":
            named.update(zip(piece_names(2), pieces))
        else:
            named["cut"] = cuts[0]
    return named


def _place(key: Any) -> Optional[tuple[str, int]]:
    """Which piece or cut a key names, if it does."""
    if not isinstance(key, str):
        return None
    if key == "cut":
        return "cut", 1
    for kind, pattern in (("piece", _PIECE), ("cut", _CUT)):
        found = pattern.fullmatch(key)
        if found:
            return kind, int(found.group(1))
    return None


def _listed(value: Any, key: str, source: str) -> Optional[Sequence[Any]]:
    if value is None:
        return None
    if not isinstance(value, list) or (key == "pieces" and not value):
        raise ConfigError(f"{source}: {key}: expected a list of sections, found {shown(value)}")
    return value


def _over(section: Any, more: Any, key: str, source: str) -> Any:
    """A section with what stands under its name put over it."""
    if more is None:
        return section
    for value in (section, more):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{source}: {key}: expected keys and values, found {shown(value)}")
    return {**section, **more}
