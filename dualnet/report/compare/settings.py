"""What a run was trained with, as keys and values that can be compared with those of other runs.

They come from where they are effective: from the config what the prototxt does not say, from the
solver as used what it does (a `--set update.learning_rate` and a `base_lr` are the same then), from
the record of the last start what only the machine knows. Left out is what decides nothing: paths,
waits, limits, and how long the run is, which stands beside how far it has come.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from dualnet.config import Config, fixed_values
from dualnet.config.chain import SINGLE
from dualnet.config.fixed import replaces_prototxt
from dualnet.report.lives import Life
from dualnet.report.piece_facts import read_json
from dualnet.rundir import PieceDir

__all__ = ["differing", "settings_of", "short_names"]

_SOLVER, _OF_SOLVER = "solver ", "solver."
_CUT = re.compile(r"cut\d*\.\w+")
_DIGEST = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{8,}\b")


def settings_of(
    config: Optional[Config], pieces: Sequence[PieceDir], lives: Mapping[str, Sequence[Life]]
) -> dict[str, str]:
    """The settings of a run, each as text.

    Args:
        config: The run's; None where it cannot be read.
        pieces: Its pieces, from the data to the loss.
        lives: Those of each piece, by name.
    """
    is_chain = pieces[0].name != SINGLE
    found: dict[str, Any] = {"pieces": len(pieces)}
    inputs = [_facts(piece) for piece in pieces]
    if config is not None:
        found = {"name": config.name, **found}
        if is_chain:
            found["cut"] = _cuts(config)
        for key, value in fixed_values(config, is_chain).items():
            is_said_elsewhere = any(inputs) and replaces_prototxt(key)
            if not is_said_elsewhere and not (_CUT.fullmatch(key) and not _is_own_rule(key, value)):
                found[key] = value
    parts = config.train.micro_batches if config is not None else 1
    found.update(_of_solvers(inputs, parts))
    first, last = (_latest(lives, piece) for piece in (pieces[0], pieces[-1]))
    known = {
        "provider": inputs[-1].get("provider"),
        "batch": last.get("samples_per_iteration"),
        "device": last.get("device"),
        "threads": inputs[-1].get("threads"),
        "data": _data(first) or None,
    }
    found.update({key: value for key, value in known.items() if value is not None})
    return {key: _text(value) for key, value in found.items()}


def _latest(lives: Mapping[str, Sequence[Life]], piece: PieceDir) -> dict[str, Any]:
    """What the latest life of a piece was made with."""
    each = lives.get(piece.name)
    return each[-1].facts if each else {}


def _facts(piece: PieceDir) -> dict[str, str]:
    """What a piece was made of when it was last started; {} if it never was."""
    found = read_json(piece.inputs, []).get("facts")
    return {str(what): str(value) for what, value in found.items()} if found else {}


def _of_solvers(inputs: Sequence[Mapping[str, str]], parts: int) -> dict[str, str]:
    """The solvers as used: one value where all pieces have the same, else one each, as 0.1/0.01."""
    found = {}
    for what in dict.fromkeys(what for facts in inputs for what in facts):
        if what.startswith(_SOLVER):
            values = [facts.get(what, "").strip('"') for facts in inputs if facts]
            if what == "solver iter_size" and parts > 1:
                # The parts of train.micro_batches are taken as Caffe's iter_size takes batches.
                values = [
                    str(int(value) // parts) if value.isdigit() else value for value in values
                ]
            same = len(set(values)) == 1
            found[what.replace(" ", ".", 1)] = values[0] if same else "/".join(values)
    if found.get("solver.iter_size") == "1":  # what it is where the prototxt says nothing
        del found["solver.iter_size"]
    return found


def _cuts(config: Config) -> str:
    """Where the net is cut, as `pool1:conv2 + pool2:conv3`."""
    return " + ".join(
        f"{','.join(cut.blobs)}:{','.join(cut.dual)}" if cut.dual else ",".join(cut.blobs)
        for cut in config.cuts
    )


def _is_own_rule(key: str, value: Any) -> bool:
    """Whether a cut's key is a rule that it has for itself; where it lies is said by `cut`."""
    return key.rpartition(".")[2] in ("target", "gamma", "loss", "loss_weight", "tie") and (
        value is not None
    )


def _data(facts: Mapping[str, Any]) -> str:
    """The first data set that a net reads: its path, and the beginning of its digest."""
    for one in facts.get("data") or []:
        if str(one.get("for", "")).endswith("source"):
            digest = _DIGEST.search(str(one.get("holds")))
            return f"{one.get('path')}@{digest.group(1)}" if digest else str(one.get("path"))
    return ""


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict):
        return ", ".join(f"{key}:{one}" for key, one in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)


def differing(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """The keys of which runs have different values, in their order.

    A run without a key does not differ in it: the single net has no target. But a solver that does
    not say its momentum differs from one that does.

    Args:
        settings: Of each run.
    """
    found = []
    for key in dict.fromkeys(key for one in settings for key in one):
        section = key.partition(".")[0] + "."
        is_of_solver = key.startswith(_OF_SOLVER)
        values = {
            one.get(key, "")
            for one in settings
            if key in one or (is_of_solver and any(other.startswith(section) for other in one))
        }
        if len(values) > 1:
            found.append(key)
    return found


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """What to call keys in a table: their last word, where that is enough to tell them apart."""
    last = [key.rpartition(".")[2] for key in keys]
    return {key: word if last.count(word) == 1 else key for key, word in zip(keys, last)}
