"""Small records that prove who wrote them: one line of `<mac> <json>`.

The HMAC is checked before the JSON is parsed, so nothing that a stranger or a torn write left in a
file ever reaches the parser. The kind of record is part of what the HMAC covers: a heartbeat copied
over a status record is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

__all__ = ["BadRecord", "MAC_BYTES", "mac", "seal", "unseal"]

MAC_BYTES = 32


class BadRecord(ValueError):
    """The bytes are not a record of this kind and run; treated as "not there yet"."""


def mac(key: bytes, kind: str, data: bytes) -> bytes:
    """HMAC-SHA256 of `data` as a record of `kind`: 32 bytes."""
    return hmac.new(key, kind.encode("ascii") + b"\0" + data, hashlib.sha256).digest()


def seal(key: bytes, kind: str, fields: dict[str, Any], limit: int) -> bytes:
    """Write a record.

    Args:
        key: the run's secret.
        kind: of record, for example "heartbeat" or "status of net1-net2".
        fields: JSON-able content.
        limit: most bytes allowed.

    Raises:
        ValueError: the record would be longer than `limit`, or the fields are not JSON-able.
    """
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    body = text.encode("ascii")
    line = mac(key, kind, body).hex().encode("ascii") + b" " + body + b"\n"
    if len(line) > limit:
        raise ValueError(f"{kind} record: {len(line)} bytes, at most {limit} allowed")
    return line


def unseal(key: bytes, kind: str, data: bytes, limit: int) -> dict[str, Any]:
    """Check and parse a record; blanks after it are ignored.

    Raises:
        BadRecord: too long, torn, of another kind or run, or not an object.
    """
    if len(data) > limit:
        raise BadRecord(f"{kind} record: {len(data)} bytes, at most {limit} allowed")
    stated, _, body = data.rstrip(b" \n").partition(b" ")
    if not hmac.compare_digest(stated, mac(key, kind, body).hex().encode("ascii")):
        raise BadRecord(f"{kind} record: wrong HMAC")
    fields = json.loads(body.decode("ascii"))
    if not isinstance(fields, dict):
        raise BadRecord(f"{kind} record: not an object")
    return fields
