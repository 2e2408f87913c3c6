"""The costs of pieces and links against sums by hand."""

from __future__ import annotations

import pytest

from dualnet.cut.plan.cuts import find_cuts
from tests.cut.plan.planning import LAYERS, TIMES, costs, learning


def found(*names, times=TIMES, target="gradient"):
    """The pieces and links of a chain that is cut at some blobs."""
    all_costs = costs(times, target=target)
    known = {cut.at: cut for cut in find_cuts(all_costs.dataflow, learning(all_costs.dataflow))[0]}
    cuts = [known[name] for name in names]
    ends = [None, *cuts, None]
    pieces = [all_costs.piece(*pair) for pair in zip(ends, ends[1:])]
    return pieces, [all_costs.link(cut) for cut in cuts], all_costs


def seconds(shift, *names):
    return sum(2.0 ** (LAYERS.index(name) + shift) for name in names)


def test_forward_and_backward_of_two_pieces():
    (one, two), _, _ = found("ip1")
    assert one.forward_s == seconds(0, "data", "ip1", "relu1")
    assert one.dual_s == seconds(0, "ip2")
    assert two.forward_s == seconds(0, "ip2", "ip3", "sum", "ip4", "loss")
    assert two.dual_s == 0
    assert one.backward_s == seconds(10, "data", "ip1", "relu1", "ip2")
    # ip2 learns, and passes nothing on to net2's input.
    half = seconds(10, "ip2") / 2
    assert two.backward_s == half + seconds(10, "ip3", "sum", "ip4", "loss")
    assert (one.parameters, two.parameters) == (54 + 35, 35 + 30 + 18)
    # The update's time in proportion to the parameters: 152 s for 137 of them.
    assert one.update_s == pytest.approx(152 * 89 / 137)


def test_a_piece_in_the_middle_has_both_dual_sections():
    (one, two, three), _, _ = found("ip1", "ip3")
    assert one.forward_s == seconds(0, "data", "ip1", "relu1")
    assert (two.forward_s, two.dual_s) == (seconds(0, "ip2", "ip3"), seconds(0, "sum", "ip4"))
    assert three.forward_s == seconds(0, "sum", "ip4", "loss")
    half = seconds(10, "ip2") / 2
    assert two.backward_s == half + seconds(10, "ip3", "sum", "ip4")
    assert (one.parameters, two.parameters, three.parameters) == (89, 35 + 30 + 18, 18)


def test_an_upper_piece_passes_gradients_to_its_input_where_that_is_compared():
    # ip2 crosses and is compared, as the shortcut passes the dual layer ip3 by.
    (_, two), _, _ = found("ip2")
    assert two.backward_s == seconds(10, "ip3", "sum", "ip4", "loss")


def test_with_backprop_no_layer_is_computed_twice():
    touched = TIMES._replace(touch_per_byte=1.0)
    pieces, links, all_costs = found("ip1", "ip2", times=touched, target="backprop")
    assert [piece.dual_s for piece in pieces] == [0, 0, 0]
    single = all_costs.single
    assert sum(piece.forward_s for piece in pieces) == single.forward_s
    assert sum(piece.backward_s for piece in pieces) == single.backward_s
    # The copies' weights are there, and each cut blob's gradient comes down.
    assert [piece.parameters for piece in pieces] == [54 + 35, 35 + 30, 30 + 18]
    assert [link.down_bytes for link in links] == [4 * 24, 4 * 20]


def test_a_shortcut_over_a_whole_piece_is_counted_at_each_link():
    _, links, _ = found("ip1", "ip2")
    assert (links[0].up_bytes, links[0].down_bytes) == (4 * (24 + 4), 4 * 20)
    # The labels pass both, and ip2 goes up for ip3 and for sum; both are compared.
    assert (links[1].up_bytes, links[1].down_bytes) == (4 * (20 + 4), 4 * (20 + 20))
    up, down = links[0].time
    assert up.one_way_s == pytest.approx(1 + 112 / 100)
    assert down.one_way_s == pytest.approx(1 + 80 / 100)


def test_targets_and_losses_take_time_by_their_size():
    slow, fast = (
        found("ip1", "sum", times=times)[0] for times in (TIMES._replace(touch_per_byte=1.0), TIMES)
    )
    extra = [a.backward_s - b.backward_s for a, b in zip(slow, fast)]
    assert extra == [4 * 80, 80 + 4 * 48, 48]


def test_memory_by_hand():
    (one, two), _, all_costs = found("ip1")
    assert two.batch_bytes == 4 * 2 * (20 + 20 + 20 + 12 + 1) + 2 * 112
    assert two.fixed_bytes == 4 * 3 * (35 + 30 + 18) + 80
    assert one.batch_bytes == 4 * (32 + 4 + 2 * (24 + 20)) + 2 * 80
    assert two.memory_bytes(3) == two.fixed_bytes + 3 * two.batch_bytes
    single = all_costs.single
    assert single.parameters == 137 and single.dual_s == 0
    assert single.seconds == seconds(0, *LAYERS) + seconds(10, *LAYERS) + 152.0
