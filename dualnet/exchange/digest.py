"""Digests of arrays, computed while their bytes are written or read.

The digest of a stream is SHA-256 over the 128 header bytes followed by the SHA-256 of each 256 KiB
piece of data: pieces can be hashed by several threads while the next one is on its way, and little
is left to do when the last one has come.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["DIGEST_BYTES", "LEAF_BYTES", "Hasher", "StreamDigest"]

LEAF_BYTES = 1 << 18
DIGEST_BYTES = 32

# Below this a thread costs more than it saves.
_INLINE_BYTES = 1 << 17


def _leaf(piece: memoryview) -> bytes:
    return hashlib.sha256(piece).digest()


class Hasher:
    """Makes stream digests; owns the threads.

    Args:
        threads: how many; 0 computes in the caller's thread.
    """

    def __init__(self, threads: int) -> None:
        self._pool: ThreadPoolExecutor | None = None
        if threads:
            self._pool = ThreadPoolExecutor(threads, thread_name_prefix="dualnet-hash")

    def stream(self, header: bytes) -> StreamDigest:
        """Begin the digest of one array."""
        return StreamDigest(header, self._pool)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


class StreamDigest:
    """The digest of one array; made by `Hasher.stream`."""

    def __init__(self, header: bytes, pool: ThreadPoolExecutor | None) -> None:
        self._header = header
        self._pool = pool
        self._leaves: list[bytes | Future] = []

    def add(self, piece: memoryview) -> None:
        """Take the next piece: LEAF_BYTES long, except the last. It must not change any more."""
        if self._pool is None or len(piece) < _INLINE_BYTES:
            self._leaves.append(_leaf(piece))
        else:
            self._leaves.append(self._pool.submit(_leaf, piece))

    def digest(self) -> bytes:
        """Wait for the threads and return the digest of everything taken."""
        whole = hashlib.sha256(self._header)
        for leaf in self._leaves:
            whole.update(leaf if isinstance(leaf, bytes) else leaf.result())
        return whole.digest()
