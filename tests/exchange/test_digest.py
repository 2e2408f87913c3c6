"""Digests of streams: against the definition, for every length and any number of threads."""

from __future__ import annotations

import builtins
import hashlib
from typing import Any, Callable

import numpy as np
import pytest

from dualnet.config.exchange import DIGESTS
from dualnet.errors import ConfigError
from dualnet.exchange.digest import DIGEST_BYTES, LEAF_BYTES, Hasher, check_digest

HEADER = b"header".ljust(128)


def leaf(name: str) -> Callable[[bytes], bytes]:
    """The digest of a piece, from its library."""
    if name == "sha256":
        return lambda piece: hashlib.sha256(piece).digest()
    blake3 = pytest.importorskip("blake3").blake3
    return lambda piece: bytes(blake3(piece).digest())


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("nbytes", [0, 1, LEAF_BYTES - 1, LEAF_BYTES, 3 * LEAF_BYTES + 7])
@pytest.mark.parametrize("name", DIGESTS)
def test_the_definition(name: str, nbytes: int, threads: int) -> None:
    digest_of = leaf(name)
    data = np.random.RandomState(nbytes).bytes(nbytes)
    pieces = [data[start : start + LEAF_BYTES] for start in range(0, nbytes, LEAF_BYTES)]
    expected = hashlib.sha256(HEADER + b"".join(map(digest_of, pieces))).digest()
    hasher = Hasher(threads, name)
    try:
        stream = hasher.stream(HEADER)
        for piece in pieces:
            stream.add(memoryview(piece))
        assert stream.digest() == expected and len(expected) == DIGEST_BYTES
    finally:
        hasher.close()


def test_blake3_of_known_input() -> None:
    """The first test vector that the BLAKE3 authors publish: the empty input."""
    expected = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert leaf("blake3")(b"").hex() == expected


def test_a_digest_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name == "blake3":
            raise ImportError("No module named 'blake3'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    check_digest("sha256")
    with pytest.raises(ConfigError, match="pip install blake3"):
        check_digest("blake3")


def test_an_unknown_digest() -> None:
    with pytest.raises(ConfigError, match="sha256, blake3, got 'md5'"):
        Hasher(0, "md5")


@pytest.mark.parametrize(
    "digest, cores, pooled",
    [("sha256", {0, 1, 2}, True), ("sha256", {0}, False), ("blake3", {0, 1, 2}, False)],
)
def test_threads_only_where_they_save_time(
    monkeypatch: pytest.MonkeyPatch, digest: str, cores: set[int], pooled: bool
) -> None:
    leaf(digest)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: cores)
    hasher = Hasher(2, digest)
    assert (hasher._pool is not None) == pooled
    hasher.close()
