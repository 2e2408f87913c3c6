"""Retrying a failing disk, on a virtual clock."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, Callable

import pytest

from dualnet.errors import StorageFailed
from dualnet.exchange.channel import Counters
from dualnet.exchange.disk.storage import Storage, wait_for_room
from tests.exchange.fakes import VirtualFs


class Flaky:
    """Fails some times, then works."""

    def __init__(self, failures: int, error: int) -> None:
        self.failures = failures
        self.error = error
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise OSError(self.error, os.strerror(self.error))
        return "done"


def make(
    tmp_path: Path, timeout_s: float = 300.0
) -> tuple[VirtualFs, Storage, list[str], Counters]:
    fs, states, counters = VirtualFs(), [], Counters()
    return fs, Storage(fs, str(tmp_path), timeout_s, counters, states.append), states, counters


@pytest.mark.parametrize(
    "error", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE]
)
def test_a_passing_fault_is_waited_out(tmp_path: Path, error: int) -> None:
    fs, storage, states, counters = make(tmp_path)
    operation = Flaky(4, error)
    assert storage.attempt("write", "file", operation) == "done"
    assert fs.slept_s == [1.0, 2.0, 4.0, 8.0]
    assert states[0] == f"blocked:{errno.errorcode[error]}" and states[-1] == "running"
    assert counters.storage_retries == 4


def test_pauses_end_at_thirty_seconds_and_time_runs_out(tmp_path: Path) -> None:
    fs, storage, states, _ = make(tmp_path)
    with pytest.raises(
        StorageFailed, match=r"cannot write some/file: ENOSPC .* free space"
    ) as caught:
        storage.attempt("write", "some/file", Flaky(10**6, errno.ENOSPC))
    assert max(fs.slept_s) == 30.0
    assert 240 < sum(fs.slept_s) <= 300
    assert "running" not in states
    assert caught.value.exit_code == 74


def test_stale_handles_are_reopened_at_once_eight_times(tmp_path: Path) -> None:
    fs, storage, _, counters = make(tmp_path)
    assert storage.attempt("read", "file", Flaky(8, errno.ESTALE)) == "done"
    assert fs.slept_s == []
    assert counters.storage_retries == 8
    storage.attempt("read", "file", Flaky(9, errno.ESTALE))
    assert fs.slept_s == [1.0]


def test_a_removed_directory_ends_it_at_once(tmp_path: Path) -> None:
    fs = VirtualFs()
    storage = Storage(fs, str(tmp_path / "gone"), 300.0, Counters())
    with pytest.raises(StorageFailed, match="removed or renamed"):
        storage.attempt("write", "file", Flaky(10**6, errno.ENOENT))
    assert fs.slept_s == []


def test_other_errors_pass_through(tmp_path: Path) -> None:
    _, storage, _, _ = make(tmp_path)

    def broken() -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        storage.attempt("write", "file", broken)


# At a start.


def said(operation: Flaky) -> Callable[[], str]:
    """The same, with words of its own for the error."""

    def run() -> str:
        try:
            return operation()
        except OSError as error:
            raise StorageFailed("no room for the secret") from error

    return run


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("wording", [lambda operation: operation, said])
def test_a_start_waits_for_room(error: int, wording: Any, caplog: pytest.LogCaptureFixture) -> None:
    fs, states = VirtualFs(), []
    assert wait_for_room(wording(Flaky(4, error)), 300.0, fs, states.append) == "done"
    assert fs.slept_s == [1.0, 2.0, 4.0, 8.0]
    assert states == [f"blocked:{errno.errorcode[error]}"] * 4 + ["running"]
    assert [line.rpartition("; ")[2] for line in caplog.messages] == [
        "waiting for room, 300 s at most"
    ]


def test_a_start_gives_up_with_what_it_met_last() -> None:
    fs = VirtualFs()
    with pytest.raises(StorageFailed, match="^no room for the secret$"):
        wait_for_room(said(Flaky(10**6, errno.ENOSPC)), 100.0, fs)
    assert 60 < sum(fs.slept_s) <= 100
    with pytest.raises(OSError, match="No space left"):
        wait_for_room(Flaky(10**6, errno.ENOSPC), 0.0, fs)


@pytest.mark.parametrize("error", [errno.EACCES, errno.EROFS, errno.ENOENT, errno.EIO])
def test_a_start_meets_other_faults_at_once(error: int) -> None:
    fs, states = VirtualFs(), []
    for operation in (Flaky(1, error), said(Flaky(1, error))):
        with pytest.raises((OSError, StorageFailed)):
            wait_for_room(operation, 300.0, fs, states.append)
    assert fs.slept_s == [] and states == []


def test_a_start_meets_a_failure_without_a_fault_at_once() -> None:
    def refuse() -> None:
        raise StorageFailed("belongs to somebody else")

    fs = VirtualFs()
    with pytest.raises(StorageFailed, match="belongs"):
        wait_for_room(refuse, 300.0, fs)
    assert fs.slept_s == []
