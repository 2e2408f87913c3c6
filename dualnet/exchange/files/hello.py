"""The handshake of a link: one sealed record for each end and epoch."""

from __future__ import annotations

from typing import Any

from dualnet.errors import UsageError
from dualnet.exchange.disk.records import BadRecord, seal, unseal
from dualnet.exchange.disk.safefile import Damaged, read_small
from dualnet.exchange.link import Link
from dualnet.exchange.paths import LinkPaths
from dualnet.exchange.run.manifest import Manifest
from dualnet.fs import Fs

__all__ = ["HELLO_LIMIT", "read_hello", "seal_hello"]

HELLO_LIMIT = 1 << 14


def seal_hello(
    manifest: Manifest, link: Link, piece: str, epoch: int, hello: dict[str, Any]
) -> bytes:
    """The bytes of the file.

    Raises:
        UsageError: it is too long, or no JSON.
    """
    fields = {"run": manifest.run_id.hex(), "piece": piece, "epoch": epoch, "hello": hello}
    try:
        return seal(manifest.key, link.kind("hello"), fields, HELLO_LIMIT)
    except (TypeError, ValueError) as error:
        raise UsageError(f"handshake: {error}; send less, in plain JSON") from error


def read_hello(
    fs: Fs, paths: LinkPaths, manifest: Manifest, piece: str, epoch: int
) -> dict[str, Any] | None:
    """The hello of a piece, or None if it cannot be read yet.

    Raises:
        OSError: from the file system.
    """
    try:
        data = read_small(fs, paths.hello(piece, epoch), HELLO_LIMIT)
        fields = unseal(manifest.key, paths.link.kind("hello"), data, HELLO_LIMIT)
    except (FileNotFoundError, Damaged, BadRecord):
        return None
    whose = (fields.get("run"), fields.get("piece"), fields.get("epoch"))
    return fields["hello"] if whose == (manifest.run_id.hex(), piece, epoch) else None
