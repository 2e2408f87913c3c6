"""Each operation of a publish and of a read fails once, and for good; never is wrong data used."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from dualnet.errors import DualnetError, StorageFailed
from dualnet.exchange.channel import Message
from tests.exchange.conftest import OpenEnd
from tests.exchange.fakes import FaultyFs, VirtualFs

ERRORS = [errno.ENOSPC, errno.EIO, errno.ESTALE]


def message(iteration: int) -> Message:
    """Two arrays, as net1 sends them."""
    pool2 = np.full((2, 3), iteration, np.float32)
    return Message("train", iteration, {"pool2": pool2, "label": pool2[:, 0]})


def assert_right(received: Message, iteration: int) -> None:
    assert received.iteration == iteration
    for name, array in message(iteration).arrays.items():
        np.testing.assert_array_equal(received.arrays[name], array)


@pytest.mark.parametrize("filesystem", ["local", "nfs"])
@pytest.mark.parametrize("error", ERRORS)
def test_each_operation_of_a_send_fails_once(
    open_end: OpenEnd, filesystem: str, error: int
) -> None:
    fs = FaultyFs()
    net1 = open_end("net1", fs=fs, filesystem=filesystem)
    net2 = open_end("net2")
    iteration = 0
    covered = 0
    while True:
        fs.now_s += 10.0  # so that each send checks for a successor, and the neighbour, too
        fs.arm(covered, error)
        net1.send(message(iteration))
        failed = fs.failed
        fs.disarm()
        assert_right(net2.receive("train", iteration), iteration)
        iteration += 1
        if not failed:
            break
        covered += 1
    assert covered > (40 if filesystem == "nfs" else 25)
    assert net1.membership.heartbeat._pulse.state == "running"
    # A temporary file stays only where its removal is what failed.
    left = [name for name in Path(net1._paths.root).iterdir() if name.name.startswith(".tmp")]
    assert left == []


@pytest.mark.parametrize("error", ERRORS)
def test_each_operation_of_a_send_fails_for_a_minute(open_end: OpenEnd, error: int) -> None:
    fs = FaultyFs()
    net1 = open_end("net1", fs=fs)
    net2 = open_end("net2")
    states = set()

    def heal() -> None:
        states.add(net1.membership.heartbeat._pulse.state)
        if fs.now_s - started_s > 60.0:
            fs.disarm()

    fs.on_sleep = heal
    iteration = 0
    covered = 0
    while True:
        started_s = fs.now_s
        fs.arm(covered, error, persistent=True)
        net1.send(message(iteration))
        failed = fs.failed
        fs.disarm()
        assert_right(net2.receive("train", iteration), iteration)
        iteration += 1
        if not failed:
            break
        covered += 1
    assert covered > 15
    assert f"blocked:{errno.errorcode[error]}" in states
    assert net1.membership.heartbeat._pulse.state == "running"


@pytest.mark.parametrize("filesystem", ["local", "nfs"])
def test_each_operation_of_a_send_fails_for_good(open_end: OpenEnd, filesystem: str) -> None:
    """The piece gives up with exit code 74, and its neighbour never sees half a message."""
    fs = FaultyFs()
    net2 = open_end("net2")
    covered = committed = 0
    while True:
        net1 = open_end("net1", fs=fs, filesystem=filesystem)
        net1.resume(covered, 0)
        fs.now_s += 10.0
        fs.arm(covered, errno.ENOSPC, persistent=True)
        try:
            net1.send(message(covered))
            failed = None
        except StorageFailed as raised:
            failed = raised
        injected = fs.failed
        fs.disarm()
        if failed is None:
            assert_right(net2.receive("train", covered), covered)
            net1.membership.close("failed: end of round")
            if not injected:
                break
        else:
            assert failed.exit_code == 74
            assert "free space" in str(failed)
            net1.membership.close(f"failed: {failed}")
            try:
                # It failed after the record was published: the message counts.
                assert_right(net2.receive("train", covered), covered)
                committed += 1
            except DualnetError as raised:
                assert "ENOSPC" in str(raised)
            # Started again, it sends the same message, and the neighbour goes on.
            again = open_end("net1", fs=fs, filesystem=filesystem)
            again.resume(covered, 0)
            again.send(message(covered))
            if net2.seq_received == covered:
                assert_right(net2.receive("train", covered), covered)
            again.membership.close("failed: end of round")
        covered += 1
    assert covered > 15
    assert 0 < committed < covered / 2


@pytest.mark.parametrize("filesystem", ["local", "nfs"])
@pytest.mark.parametrize("error", ERRORS)
def test_each_operation_of_a_receive_fails_once(
    open_end: OpenEnd, filesystem: str, error: int
) -> None:
    fs = FaultyFs()
    net1, net2 = open_end("net1"), open_end("net2", fs=fs, filesystem=filesystem)
    net1.send(message(0))
    assert_right(net2.receive("train", 0), 0)
    iteration = 1
    covered = 0
    while True:
        net1.send(message(iteration))
        fs.now_s += 10.0
        fs.arm(covered, error)
        received = net2.receive("train", iteration)
        failed = fs.failed
        fs.disarm()
        assert_right(received, iteration)
        iteration += 1
        if not failed:
            break
        covered += 1
    assert covered > 12


def test_each_operation_of_a_receive_fails_for_good(open_end: OpenEnd) -> None:
    fs = FaultyFs()
    net1, net2 = open_end("net1"), open_end("net2", fs=fs)
    covered = 0
    iteration = 0
    net1.send(message(0))
    while True:
        fs.now_s += 10.0
        fs.arm(covered, errno.EIO, persistent=True)
        try:
            assert_right(net2.receive("train", iteration), iteration)
            iteration += 1
            net1.send(message(iteration))
        except StorageFailed as raised:
            assert "EIO" in str(raised)
        if not fs.failed:
            break
        fs.disarm()
        covered += 1
    assert covered > 12


def test_no_descriptor_is_left_open(open_end: OpenEnd) -> None:
    fs = FaultyFs()
    net1, net2 = open_end("net1", fs=fs), open_end("net2")
    net1.send(message(0))
    net2.receive("train", 0)
    before = len(os.listdir("/proc/self/fd"))
    for covered in range(35):
        fs.now_s += 10.0
        fs.arm(covered, errno.EIO)
        net1.send(message(covered + 1))
        net2.receive("train", covered + 1)
    assert len(os.listdir("/proc/self/fd")) == before


def test_opening_a_channel_fails_at_each_operation(open_end: OpenEnd) -> None:
    """What fails while a piece starts is said at once, and the next start works."""
    fs = FaultyFs()
    covered = 0
    while True:
        fs.arm(covered, errno.EACCES)
        slept = len(fs.slept_s)
        try:
            end = open_end("net1", fs=fs)
        except DualnetError as raised:
            # 75: the heartbeat that says "stopped" could not be read, and our process lives.
            assert raised.exit_code in (74, 75)
            assert len(fs.slept_s) == slept
            end = None
        injected = fs.failed
        fs.disarm()
        if end is None:
            end = open_end("net1", fs=fs)
        end.send(message(end.epoch)) if end.epoch == 1 else None
        end.membership.close("stopped")
        if not injected:
            break
        covered += 1
    assert covered > 40


def test_virtual_time_costs_no_real_time() -> None:
    fs = VirtualFs()
    fs.sleep(1e6)
    assert fs.monotonic() == 1000.0 + 1e6
