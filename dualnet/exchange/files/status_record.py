"""The stage-status record: what a half has sent, where it stands, and what it still needs.

One file per writer and epoch of 512 bytes, so that one read gets it whole; at each message it is
renamed over, or on a local disk written over in place (`Publisher.overwrite`). It is the commit
record: a message exists once the record counts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dualnet.exchange.disk.records import BadRecord, seal, unseal

__all__ = ["RECORD_LIMIT", "StageRecord"]

RECORD_LIMIT = 512


@dataclass(frozen=True)
class StageRecord:
    """One half's state as its partner sees it.

    Attributes:
        run: run id in hex.
        role, epoch: who writes.
        base: messages sent by earlier epochs that this one builds on; -1 until that is known.
            Message s comes from the latest epoch whose base is below s.
        seq: messages sent by this half in all, `base` included.
        stage, iteration: those of the last message, "" and -1 before the first.
        digest: the last message's digest in hex, "" before the first.
        layouts: layouts published by this epoch.
        received: messages received.
        hello: whether this half's hello is there to read.
        want: number of a message that arrived damaged and is wanted anew; 0 is none.
        resent_seq, resent_attempt: the last message that was sent anew, and its attempt.
        checkpoint: iteration of the last durable checkpoint, -1 is none.
        passed_sent, passed_received: messages that the oldest checkpoint kept has behind it.
    """

    run: str
    role: str
    epoch: int
    base: int = -1
    seq: int = 0
    stage: str = ""
    iteration: int = -1
    digest: str = ""
    layouts: int = 0
    received: int = 0
    hello: bool = False
    want: int = 0
    resent_seq: int = 0
    resent_attempt: int = 0
    checkpoint: int = -1
    passed_sent: int = 0
    passed_received: int = 0

    def seal(self, key: bytes) -> bytes:
        """The bytes of the file, always RECORD_LIMIT long."""
        # Short keys: the whole record has to fit.
        fields = {short: getattr(self, name) for name, short in _SHORT.items()}
        return seal(key, "stage", fields, RECORD_LIMIT).ljust(RECORD_LIMIT)

    @classmethod
    def unseal(cls, key: bytes, data: bytes) -> StageRecord:
        """The record in a file's bytes.

        Raises:
            BadRecord: it is none of this run.
        """
        record = cls.from_fields(unseal(key, "stage", data, RECORD_LIMIT))
        if record is None:
            raise BadRecord("stage record: not the fields of one")
        return record

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> StageRecord | None:
        """The record with these fields of JSON, None if they are not those of one."""
        try:
            return cls(**{_LONG[name]: value for name, value in fields.items()})
        except (KeyError, TypeError):
            return None


_SHORT = {
    "run": "run",
    "role": "role",
    "epoch": "ep",
    "base": "base",
    "seq": "seq",
    "stage": "st",
    "iteration": "it",
    "digest": "dig",
    "layouts": "lay",
    "received": "rcv",
    "hello": "hi",
    "want": "want",
    "resent_seq": "rs",
    "resent_attempt": "ra",
    "checkpoint": "ckpt",
    "passed_sent": "ps",
    "passed_received": "pr",
}
_LONG = {short: long for long, short in _SHORT.items()}
