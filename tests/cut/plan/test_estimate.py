"""The estimates against sums by hand."""

from __future__ import annotations

import pytest

from dualnet.cut.plan.cuts import find_cuts
from dualnet.cut.plan.estimate import estimate, single_cost
from dualnet.cut.plan.memory import Memory
from dualnet.cut.plan.times import LayerTimes
from tests.cut.plan.planning import BUILT, CARRIER, LAYERS, TIMES, learning, wired


def at(name, times=TIMES, shared=False):
    dataflow = wired()
    cut = next(cut for cut in find_cuts(dataflow, learning(dataflow))[0] if cut.at == name)
    return estimate(cut, BUILT, times, CARRIER, Memory(dataflow, BUILT, "SGD"), shared)


def seconds(shift, *names):
    return sum(2.0 ** (LAYERS.index(name) + shift) for name in names)


def test_forward_and_backward_of_both_halves():
    found = at("ip1")
    assert found.net1.forward_s == seconds(0, "data", "ip1", "relu1", "ip2")
    assert found.net2.forward_s == seconds(0, "ip2", "ip3", "sum", "ip4", "loss")
    assert found.net1.backward_s == seconds(10, "data", "ip1", "relu1", "ip2")
    # ip2 learns, and passes nothing on to net2's input.
    half = seconds(10, "ip2") / 2
    assert found.net2.backward_s == half + seconds(10, "ip3", "sum", "ip4", "loss")
    assert (found.net1.parameters, found.net2.parameters) == (54 + 35, 35 + 30 + 18)
    # The update's time in proportion to the parameters: 152 s for 137 of them.
    assert found.net1.update_s == pytest.approx(152 * 89 / 137)


def test_net2_passes_gradients_to_its_input_where_that_is_compared():
    # ip2 crosses and is compared, as the shortcut passes the dual layer ip3 by.
    assert at("ip2").net2.backward_s == seconds(10, "ip3", "sum", "ip4", "loss")


def test_bytes_and_iterations():
    found = at("ip1")
    assert (found.up_bytes, found.down_bytes) == (4 * (24 + 4), 4 * 20)
    up_s, down_s = 1 + 112 / 100, 1 + 80 / 100
    answer_s = found.net2.forward_s + found.net2.backward_s
    rest_s = found.net1.seconds - seconds(0, "ip2")
    late_s = 0.01 + 0.01  # polls pause for 0.02 s at most, and come late by half of it
    assert found.alternating_s == pytest.approx(rest_s + answer_s + up_s + down_s + late_s)
    assert found.overlapped_s == pytest.approx(found.net2.seconds + (up_s + down_s) / 2)


def test_short_waits_are_polled_more_often():
    tiny = LayerTimes({1: 0.1}, {}, 0.0, 0.0, 0)
    found = at("ip1", tiny)
    messages_s = 1 + 112 / 100 + 1 + 80 / 100
    assert found.alternating_s == pytest.approx(0.1 + messages_s + 0.025 * 0.1)


def test_on_shared_cores_all_work_adds_up():
    found = at("ip1", shared=True)
    messages_s = 1 + 112 / 100 + 1 + 80 / 100
    total = found.net1.seconds + found.net2.seconds + messages_s
    assert found.alternating_s == found.overlapped_s == pytest.approx(total)


def test_targets_and_losses_take_time_by_their_size():
    touched = TIMES._replace(touch_per_byte=1.0)
    slow, fast = at("ip1", touched), at("ip1")
    assert slow.net1.backward_s - fast.net1.backward_s == 4 * 80
    assert slow.net2.backward_s - fast.net2.backward_s == 80


def test_the_limit_is_the_whole_over_the_larger_half():
    dataflow = wired()
    memory = Memory(dataflow, BUILT, "SGD")
    whole = single_cost(dataflow, BUILT, TIMES, memory)
    found = at("ip1")
    larger = max(found.net1.memory_bytes, found.net2.memory_bytes)
    assert found.memory_limit == whole.memory_bytes / larger and found.largest_bytes == larger
    assert whole.seconds == seconds(0, *LAYERS) + seconds(10, *LAYERS) + 152.0
