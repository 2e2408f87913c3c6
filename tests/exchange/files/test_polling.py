"""The sleep between two polls."""

from __future__ import annotations

import pytest

from dualnet.exchange.files.polling import Poller
from tests.exchange.fakes import VirtualFs


def test_sleeps_grow_with_the_wait_up_to_the_cap() -> None:
    fs = VirtualFs()
    poller = Poller(fs, 0.02)
    for _ in range(300):
        poller.sleep()
    assert fs.slept_s[0] == 0.0002
    assert fs.slept_s == sorted(fs.slept_s)
    assert fs.slept_s[-1] == 0.02


def test_a_look_comes_late_by_a_twentieth_of_the_wait_at_most() -> None:
    fs = VirtualFs()
    poller = Poller(fs, 10.0)
    for _ in range(200):
        before_s = poller.waited_s
        poller.sleep()
        assert fs.slept_s[-1] <= max(0.0002, 0.05 * before_s) + 1e-9
    assert poller.waited_s == pytest.approx(sum(fs.slept_s))
