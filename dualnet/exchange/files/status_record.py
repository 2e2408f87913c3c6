"""The status record: what a piece has sent over a link, has received, and asks for.

One file per writer and epoch of 512 bytes, so that one read gets it whole; at each message it is
renamed over, or on a local disk written over in place (`Publisher.overwrite`). It is the commit
record: a message exists once the record counts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dualnet.exchange.disk.records import BadRecord, seal, unseal
from dualnet.exchange.link import Link

__all__ = ["RECORD_LIMIT", "StatusRecord"]

RECORD_LIMIT = 512


@dataclass(frozen=True)
class StatusRecord:
    """The state of one end of a link as its neighbour sees it.

    Attributes:
        link: whose record it is; another link's is refused.
        run: run id in hex.
        piece, epoch: who writes.
        base: messages already sent by earlier epochs up to the checkpoint that this epoch resumed
            from; -1 before `resume`. Message s is read from the latest epoch with base < s.
        seq: messages sent in all, `base` included.
        kind, iteration: those of the last message, "" and -1 before the first.
        digest: the last message's digest in hex, "" before the first.
        layouts: layouts published by this epoch.
        received: messages received.
        hello: whether this epoch's hello is there to read.
        want: number of the message that the neighbour is asked to resend; 0: none.
        resent_seq, resent_attempt: the last message that was resent, and its attempt.
        checkpoint: iteration of the last durable checkpoint, -1 is none.
        checkpointed_sent, checkpointed_received: message counts at the oldest checkpoint that is
            retained.
    """

    link: Link
    run: str
    piece: str
    epoch: int
    base: int = -1
    seq: int = 0
    kind: str = ""
    iteration: int = -1
    digest: str = ""
    layouts: int = 0
    received: int = 0
    hello: bool = False
    want: int = 0
    resent_seq: int = 0
    resent_attempt: int = 0
    checkpoint: int = -1
    checkpointed_sent: int = 0
    checkpointed_received: int = 0

    def seal(self, key: bytes) -> bytes:
        """The bytes of the file, always RECORD_LIMIT long."""
        # Short keys: the whole record has to fit.
        fields = {short: getattr(self, name) for name, short in _SHORT.items()}
        return seal(key, self.link.kind("status"), fields, RECORD_LIMIT).ljust(RECORD_LIMIT)

    @classmethod
    def unseal(cls, key: bytes, link: Link, data: bytes) -> StatusRecord:
        """The record in a file's bytes.

        Raises:
            BadRecord: it is none of this run and link.
        """
        record = cls.from_fields(link, unseal(key, link.kind("status"), data, RECORD_LIMIT))
        if record is None:
            raise BadRecord("status record: not the fields of one")
        return record

    @classmethod
    def from_fields(cls, link: Link, fields: dict[str, Any]) -> StatusRecord | None:
        """The record with these fields of JSON, None if they are not those of one."""
        try:
            return cls(link, **{_LONG[name]: value for name, value in fields.items()})
        except (KeyError, TypeError):
            return None


_SHORT = {
    "run": "run",
    "piece": "piece",
    "epoch": "ep",
    "base": "base",
    "seq": "seq",
    "kind": "kind",
    "iteration": "it",
    "digest": "dig",
    "layouts": "lay",
    "received": "rcv",
    "hello": "hi",
    "want": "want",
    "resent_seq": "rs",
    "resent_attempt": "ra",
    "checkpoint": "ckpt",
    "checkpointed_sent": "ps",
    "checkpointed_received": "pr",
}
_LONG = {short: long for long, short in _SHORT.items()}
