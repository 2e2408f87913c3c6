"""Which keys a run keeps from its first start to its last, and which may change at each start.

A key is fixed unless it stands here with the reason why it may differ: between two starts of a run,
and between its pieces.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from dualnet.config.chain import SINGLE, cut_name, number_of
from dualnet.config.schema import Config

__all__ = ["FREE", "KeyChange", "changed_keys", "fixed_values", "replaces_prototxt"]

_SHOWN = "only shown"
_CONTENT = "what the file holds counts, not what it is called; each piece records that"
_NODE = "belongs to the node"
_CHECKED = "only monitors the training"
_WAIT = "how long to wait or try, never what is computed"

#: Key, or section, to the reason why it may differ. PIECE is the section of any piece.
FREE: dict[str, str] = {
    "name": _SHOWN,
    "caffe": "the provider in use counts, whoever chose it; each piece records that",
    "PIECE.solver": _CONTENT,
    "PIECE.device": _NODE,
    "PIECE.cores": _NODE,
    "PIECE.threads": "the number in use counts; each piece records that",
    "tracking": _SHOWN,
    "train.max_iter": "a run may be made longer; see extension.py for when",
    "train.display": _SHOWN,
    "train.keep": "how many checkpoints stay, not what is in them",
    "train.stop_within_s": _WAIT,
    "train.stop_on_nan": _CHECKED,
    "train.weights": _CONTENT,
    "liveness": _CHECKED,
    "exchange.address": _NODE,
    "exchange.partner_timeout_s": _WAIT,
    "exchange.dead_after_s": _WAIT,
    "exchange.hang_timeout_s": _WAIT,
    "exchange.restart_grace_s": _WAIT,
    "exchange.storage_timeout_s": _WAIT,
    "exchange.poll_cap_s": _WAIT,
    "exchange.filesystem": _NODE,
    "exchange.lock_dir": _NODE,
    "exchange.max_message_bytes": "a limit: what a message holds does not depend on it",
    "exchange.verify": "every message is the same, checked or not",
    "exchange.disk_budget_bytes": _NODE,
}

#: Keys and sections that play no part in the training of the uncut net.
_OF_CHAIN = (
    "coupling", "exchange", "train.schedule", "train.staleness",
    "train.stale_activations", "train.stale_momentum", "train.local_steps",
    "train.micro_batch_order",
)  # fmt: skip

#: Keys that replace a value of the prototxt, where they are given.
_IN_PROTOTXT = (
    "train.batch_size", "train.test_iter", "train.test_interval", "train.snapshot",
    "update.learning_rate", "PIECE.learning_rate",
)  # fmt: skip


class KeyChange(NamedTuple):
    """A fixed key with another value than before."""

    key: str
    before: Any
    now: Any


def fixed_values(config: Config, is_dual: bool) -> dict[str, Any]:
    """Every key that a run keeps, as `section.key`, to its value; JSON-able.

    Args:
        config: Of the run.
        is_dual: A chain of several pieces trains, else the uncut net.
    """
    values: dict[str, Any] = {}
    for section, value in _sections(config, is_dual).items():
        if isinstance(value, dict):
            values.update({f"{section}.{key}": one for key, one in value.items()})
        else:
            values[section] = value
    dropped = (*FREE, *(() if is_dual else _OF_CHAIN))
    return {
        key: value
        for key, value in values.items()
        if _general(key) not in dropped and key.partition(".")[0] not in dropped
    }


def _sections(config: Config, is_dual: bool) -> dict[str, Any]:
    """The sections that play a part, each piece and cut under its own name."""
    sections = dataclasses.asdict(config)
    pieces, cuts, single = (sections.pop(key) for key in ("pieces", "cuts", "single"))
    if not is_dual:
        return {**sections, SINGLE: single if len(pieces) > 1 else pieces[0]}
    named = {cut_name(index, len(pieces)): cut for index, cut in enumerate(cuts)}
    return {**sections, **dict(zip(config.names, pieces)), **named}


def _general(key: str) -> str:
    """A key as `FREE` has it: any piece's name is PIECE."""
    section, _, last = key.partition(".")
    return f"PIECE.{last}" if number_of(section) else key


def replaces_prototxt(key: str) -> bool:
    """Whether a key stands in for a value of the prototxt, which says it if the key does not."""
    return _general(key) in _IN_PROTOTXT


def changed_keys(before: dict[str, Any], now: dict[str, Any]) -> list[KeyChange]:
    """The keys in which two dictionaries of `fixed_values` differ, in their order.

    A key that is given and one that leaves the value to the prototxt may mean the same. They do not
    count here: each piece records the prototxt as used.
    """
    keys = list(dict.fromkeys([*now, *before]))
    return [
        KeyChange(key, before.get(key), now.get(key))
        for key in keys
        if before.get(key) != now.get(key)
        and not (replaces_prototxt(key) and None in (before.get(key), now.get(key)))
    ]
