"""The heartbeat file, and the thread that writes it."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from dualnet.exchange.disk.records import BadRecord
from dualnet.exchange.paths import RunPaths
from dualnet.exchange.run.heartbeat import HEARTBEAT_BYTES, Heartbeat, Pulse, read_pulse
from dualnet.fs import Fs
from tests.exchange.fakes import FaultyFs

KEY = bytes(range(32))
RUN = "ab" * 16


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    """A directory with the heartbeat file of net1's first epoch."""
    paths = RunPaths(str(tmp_path))
    Path(paths.heartbeat("net1", 1)).write_bytes(Pulse(RUN, "net1", 1).seal(KEY))
    return paths


def make(paths: RunPaths, fs: Fs | None = None, beat_s: float = 5.0) -> Heartbeat:
    path = paths.heartbeat("net1", 1)
    return Heartbeat(fs or Fs(), path, KEY, Pulse(RUN, "net1", 1), beat_s, sync=False)


def read(paths: RunPaths) -> Pulse | None:
    return read_pulse(Fs(), paths, KEY, RUN, "net1", 1)


def test_each_beat_has_another_nonce(paths: RunPaths) -> None:
    heart = make(paths)
    nonces = set()
    for _ in range(20):
        heart.beat()
        pulse = read(paths)
        assert pulse is not None
        nonces.add(pulse.nonce)
    assert len(nonces) == 20
    assert Path(paths.heartbeat("net1", 1)).stat().st_size == HEARTBEAT_BYTES


def test_progress_and_state_are_told(paths: RunPaths) -> None:
    heart = make(paths)
    heart.count("net1-net2", 3, 2)
    heart.set_state("blocked:ENOSPC", now=True)
    pulse = read(paths)
    assert pulse is not None
    assert (pulse.counts("net1-net2"), pulse.progress) == ((3, 2), 1)
    assert pulse.state == "blocked:ENOSPC" and not pulse.ended


@pytest.mark.parametrize("text", ["x" * 5000, "\N{SNOWMAN}" * 5000, "line\nbreak\t\0", "\udc80"])
def test_any_error_text_fits(paths: RunPaths, text: str) -> None:
    make(paths).close(f"failed: {text}")
    pulse = read(paths)
    assert pulse is not None and pulse.ended
    assert pulse.state.startswith("failed: ")
    assert "\n" not in pulse.state


def test_torn_heartbeats_are_no_heartbeats(paths: RunPaths) -> None:
    heart = make(paths)
    heart.beat()
    path = Path(paths.heartbeat("net1", 1))
    old = path.read_bytes()
    heart.count("net1-net2", 123456, 7)
    heart.beat()
    new = path.read_bytes()
    for cut in range(1, 250, 7):
        path.write_bytes(new[:cut] + old[cut:])
        pulse = read(paths)
        assert pulse in (None, Pulse.unseal(KEY, old), Pulse.unseal(KEY, new))
    with pytest.raises(BadRecord):
        Pulse.unseal(KEY, new[:100] + old[100:])


def test_other_pieces_and_epochs_are_not_taken_for_ours(paths: RunPaths) -> None:
    data = Pulse(RUN, "net1", 1).seal(KEY)
    Path(paths.heartbeat("net1", 2)).write_bytes(data)
    Path(paths.heartbeat("net2", 1)).write_bytes(data)
    assert read_pulse(Fs(), paths, KEY, RUN, "net1", 2) is None
    assert read_pulse(Fs(), paths, KEY, RUN, "net2", 1) is None


def test_a_full_disk_does_not_silence_it(paths: RunPaths) -> None:
    """It is rewritten in place: no operation of it needs room."""
    fs = FaultyFs()
    heart = make(paths, fs)
    fs.arm(-1, 0)
    heart.beat()
    assert set(fs.log) == {"open", "pwrite", "close"}


def test_failures_are_survived(paths: RunPaths) -> None:
    fs = FaultyFs()
    heart = make(paths, fs)
    for error in (errno.ESTALE, errno.EIO, errno.EACCES):
        fs.arm(0, error)
        heart.beat()
    fs.disarm()
    assert read(paths).nonce == ""  # still the first one
    heart.beat()
    assert read(paths).nonce
    assert read(paths) is not None


def test_the_thread_survives_everything(paths: RunPaths) -> None:
    enough = threading.Event()

    class ConnectionLost(Fs):
        tries = 0

        def open(self, path: str, flags: int, mode: int = 0o600) -> int:
            self.tries += 1
            if self.tries == 1:
                raise OSError(errno.ESTALE, "stale")
            if self.tries == 2:
                raise ValueError("a bug")
            if self.tries == 5:
                enough.set()
            return super().open(path, flags, mode)

    heart = make(paths, ConnectionLost(), beat_s=0.001)
    heart.start()
    assert enough.wait(10.0)
    heart.close("done")
    pulse = read(paths)
    assert pulse is not None and pulse.state == "done"


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), KeyboardInterrupt()])
def test_one_whose_thread_did_not_start_can_be_closed(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def start(thread: threading.Thread) -> None:
        raise error

    monkeypatch.setattr(threading.Thread, "start", start)
    heart = make(paths)
    with pytest.raises(type(error)):
        heart.start()
    heart.close("failed: no thread")
    pulse = read(paths)
    assert pulse is not None and pulse.state == "failed: no thread"
