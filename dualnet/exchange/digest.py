"""Digests of arrays, computed while their bytes are written or read.

The digest of a stream is SHA-256 over the 128 header bytes followed by the digest of each 256 KiB
chunk of data: chunks can be hashed by several threads while the next one is on its way, and little
is left to do when the last one has come. A chunk's digest is SHA-256, or BLAKE3, which takes about
a quarter of the time and needs the package of that name on all nodes.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Callable

from dualnet.config.exchange import DIGESTS
from dualnet.errors import ConfigError

__all__ = ["DIGEST_BYTES", "LEAF_BYTES", "Hasher", "StreamDigest", "check_digest"]

LEAF_BYTES = 1 << 18
DIGEST_BYTES = 32

# Below this a thread costs more than it saves.
_INLINE_BYTES = 1 << 17
# BLAKE3 takes less time for a chunk than it takes to hand one to a thread.
_WORTH_A_THREAD = ("sha256",)


Leaf = Callable[[memoryview], bytes]


def check_digest(name: str) -> None:
    """See that a digest can be computed here.

    Raises:
        ConfigError: there is no such digest, or its package is not installed.
    """
    _leaf_of(name)


def _leaf_of(name: str) -> Leaf:
    if name == "sha256":
        return lambda chunk: hashlib.sha256(chunk).digest()
    if name != "blake3":
        raise ConfigError(f"exchange.digest: expected one of {', '.join(DIGESTS)}, got {name!r}")
    try:
        from blake3 import blake3
    except ImportError as error:
        raise ConfigError(
            f"exchange.digest: blake3: cannot be imported here ({error}); pip install blake3 on "
            f"all nodes, or set sha256"
        ) from error
    return lambda chunk: blake3(chunk).digest()


class Hasher:
    """Makes stream digests; owns the threads.

    Args:
        threads: how many, at most one less than this process may use cores; 0 computes in the
            caller's thread, as for digests that are faster so.
        digest: one of `DIGESTS`, for the chunks.

    Raises:
        ConfigError: it cannot be computed here.
    """

    def __init__(self, threads: int, digest: str = "sha256") -> None:
        self._leaf = _leaf_of(digest)
        self._pool: ThreadPoolExecutor | None = None
        threads = min(threads, len(os.sched_getaffinity(0)) - 1)
        if threads > 0 and digest in _WORTH_A_THREAD:
            self._pool = ThreadPoolExecutor(threads, thread_name_prefix="dualnet-hash")

    def stream(self, header: bytes) -> StreamDigest:
        """Begin the digest of one array."""
        return StreamDigest(header, self._leaf, self._pool)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


class StreamDigest:
    """The digest of one array; made by `Hasher.stream`."""

    def __init__(self, header: bytes, leaf: Leaf, pool: ThreadPoolExecutor | None) -> None:
        self._header = header
        self._leaf = leaf
        self._pool = pool
        self._leaves: list[bytes | Future] = []

    def add(self, chunk: memoryview) -> None:
        """Take the next chunk: LEAF_BYTES long, except the last. It must not change any more."""
        if self._pool is None or len(chunk) < _INLINE_BYTES:
            self._leaves.append(self._leaf(chunk))
        else:
            self._leaves.append(self._pool.submit(self._leaf, chunk))

    def digest(self) -> bytes:
        """Wait for the threads and return the digest of everything taken."""
        whole = hashlib.sha256(self._header)
        for leaf in self._leaves:
            whole.update(leaf if isinstance(leaf, bytes) else leaf.result())
        return whole.digest()
