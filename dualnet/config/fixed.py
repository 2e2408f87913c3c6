"""Which keys a run keeps from its first start to its last, and which each start may choose anew.

A key is fixed unless it stands here with the reason why it may differ: between two starts of a run,
and between its halves.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from dualnet.config.schema import Config

__all__ = ["FREE", "KeyChange", "changed_keys", "fixed_values"]

_SHOWN = "only shown"
_CONTENT = "what the file holds counts, not what it is called; each half records that"
_NODE = "belongs to the node"
_CHECKED = "only looks at the training"
_WAIT = "how long to wait or try, never what is computed"

#: Key, or section, to the reason why it may differ.
FREE: dict[str, str] = {
    "name": _SHOWN,
    "caffe": "the provider in use counts, whoever chose it; each half records that",
    **{f"{role}.solver": _CONTENT for role in ("single", "net1", "net2")},
    **{f"{role}.device": _NODE for role in ("single", "net1", "net2")},
    **{f"{role}.cores": _NODE for role in ("single", "net1", "net2")},
    **{
        f"{role}.threads": "the number in use counts; each half records that"
        for role in ("single", "net1", "net2")
    },
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

#: Keys and sections that play no part in a single training.
_OF_HALVES = (
    "net1", "net2", "cut", "coupling", "exchange", "train.schedule", "train.staleness",
    "train.stale_activations", "train.stale_momentum", "train.local_steps",
)  # fmt: skip
#: And those that play none in a dual one.
_OF_SINGLE = ("single",)

#: Keys that replace a value of the prototxt, where they are given.
_IN_PROTOTXT = (
    "train.batch_size", "train.test_iter", "train.test_interval", "train.snapshot",
    "update.learning_rate", "single.learning_rate", "net1.learning_rate", "net2.learning_rate",
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
        is_dual: Two halves train, else the uncut net.
    """
    dropped = (*FREE, *(_OF_SINGLE if is_dual else _OF_HALVES))
    values: dict[str, Any] = {}
    for section, value in config.to_dict().items():
        is_section = section not in ("name", "caffe", "seed")
        for key, one in value.items() if is_section else ():
            values[f"{section}.{key}"] = one
        if not is_section:
            values[section] = value
    return {
        key: value
        for key, value in values.items()
        if key not in dropped and key.partition(".")[0] not in dropped
    }


def changed_keys(before: dict[str, Any], now: dict[str, Any]) -> list[KeyChange]:
    """The keys in which two dictionaries of `fixed_values` differ, in their order.

    A key that is given and one that leaves the value to the prototxt may mean the same: the
    prototxt as used, which each half records, tells.
    """
    keys = list(dict.fromkeys([*now, *before]))
    return [
        KeyChange(key, before.get(key), now.get(key))
        for key in keys
        if before.get(key) != now.get(key)
        and not (key in _IN_PROTOTXT and None in (before.get(key), now.get(key)))
    ]
