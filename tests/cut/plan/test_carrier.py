"""The carrier that is timed, and times in between."""

from __future__ import annotations

import os

import pytest

from dualnet.cut.plan.carrier import Carrier, measure_carrier
from dualnet.errors import StorageFailed


@pytest.mark.parametrize("name", ["files", "tcp"])
def test_messages_are_timed_and_nothing_stays(tmp_path, name):
    carrier = measure_carrier(str(tmp_path), 300_000, name)
    assert carrier.name == name
    assert carrier.sizes == [1 << 12, 1 << 16, 1 << 18, 1 << 20, 1 << 22]
    assert len(carrier.seconds) == len(carrier.send_seconds) == 5
    assert all(0 < sent <= whole for sent, whole in zip(carrier.send_seconds, carrier.seconds))
    assert os.listdir(tmp_path) == []


def test_a_small_plan_is_timed_with_messages_that_show_a_rate(tmp_path):
    """Two messages of a few kilobytes took equally long, which made 6,144,000 MB/s."""
    carrier = measure_carrier(str(tmp_path), 8)
    assert carrier.sizes[-1] == 1 << 22
    assert carrier.bytes_per_s is None or carrier.bytes_per_s < 1e11


@pytest.mark.parametrize("last", [1.0, 0.9, 1.0 + 1e-9, 1.4])
def test_no_rate_is_made_of_noise(last):
    carrier = Carrier([4096, 1 << 22], [1.0, last], [0.5, 0.5])
    assert carrier.bytes_per_s is None
    assert carrier.one_way_s(1 << 30) == last


def test_times_in_between_and_beyond():
    carrier = Carrier([0, 100, 300], [1.0, 2.0, 6.0], [0.5, 0.5, 1.5])
    assert [carrier.one_way_s(size) for size in (0, 50, 100, 200, 300)] == [1, 1.5, 2, 4, 6]
    assert carrier.bytes_per_s == 60
    assert carrier.one_way_s(360) == pytest.approx(7)
    message = carrier.message(360)
    assert (message.send_s, message.receive_s) == pytest.approx((7 / 4, 7 * 3 / 4))


def test_a_network_adds_to_what_was_measured():
    here = Carrier([0, 100], [1.0, 2.0], [0.5, 1.0])
    there = here._replace(latency_s=3.0, wire_s=0.25)
    message = there.message(40)
    assert (message.transit_s, message.latency_s) == (10.0, 3.0)
    assert message.send_s == here.message(40).send_s
    assert message.one_way_s == pytest.approx(here.one_way_s(40) + 13)


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(StorageFailed, match="nowhere: cannot exchange files there: No such file"):
        measure_carrier(str(tmp_path / "nowhere"), 8)
