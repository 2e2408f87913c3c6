"""Pieces of an exchange in one process, on a virtual clock, without threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dualnet.exchange.files.channel import FileChannel
from dualnet.exchange.link import Link
from dualnet.exchange.run.host import ProcessId
from dualnet.exchange.run.membership import Membership
from dualnet.exchange.settings import ExchangeSettings
from dualnet.fs import Fs
from tests.exchange.fakes import VirtualFs

LINK = Link("net1", "net2")

OpenEnd = Callable[..., FileChannel]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run's directory with a name that breaks careless quoting."""
    path = tmp_path / 'a run\'s "dir" 100%'
    path.mkdir()
    return path


@pytest.fixture
def open_end(run_dir: Path, tmp_path: Path) -> Iterator[OpenEnd]:
    """A function that opens a piece; all are closed in the end."""
    opened: list[Membership] = []

    def open_one(
        piece: str,
        fs: Fs | None = None,
        process: ProcessId | None = None,
        identity: dict[str, Any] | None = None,
        **settings: Any,
    ) -> FileChannel:
        made = ExchangeSettings(
            **{"lock_dir": str(tmp_path / "locks"), "hash_threads": 0, **settings}
        )
        identity = identity or {"config": "c0ffee"}
        membership = Membership(
            piece, str(run_dir), made, identity, fs or VirtualFs(), process, beat=False
        )
        opened.append(membership)
        try:
            return FileChannel(membership, LINK, made)
        except BaseException as error:
            membership.close(f"failed: {error}")
            raise

    yield open_one
    for membership in opened:
        membership.close("stopped")
