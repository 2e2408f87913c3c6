"""Which cuts there are, and the reasons why others are none."""

from __future__ import annotations

from dualnet.cut.plan.cuts import find_cuts
from tests.cut.plan.planning import NET, learning, wired


def found(text=NET):
    dataflow = wired(text)
    return find_cuts(dataflow, learning(dataflow))


def test_every_blob_is_a_cut_or_has_a_reason():
    cuts, refusals = found()
    assert [(cut.at, cut.dual, cut.crossing) for cut in cuts] == [
        ("ip1", ["ip2"], ["ip1"]),
        ("ip2", ["ip3"], ["ip2"]),
        ("ip3", ["sum", "ip4"], ["ip3", "ip2"]),  # the shortcut crosses, too
        ("sum", ["ip4"], ["sum"]),
    ]
    reasons = {refusal.at: refusal.reason for refusal in refusals}
    assert list(reasons) == ["data", "label", "ip4", "loss"]
    assert reasons["data"].startswith("no layer before it learns")
    assert reasons["ip4"] == "no layer that learns stands between it and the loss"
    assert reasons["loss"].startswith("no layer reads it")


def test_shortcuts_beside_the_dual_section_are_compared():
    cuts, _ = found()
    compared = [[pair.version.name for pair in cut.flow.compared] for cut in cuts]
    assert compared == [["ip2"], ["ip2", "ip3"], ["ip4"], ["ip4"]]


def test_shared_parameters_are_no_cut():
    shared = 'param { name: "w" }'
    text = NET.replace('top: "ip2" }', f'top: "ip2" {shared} }}')
    cuts, refusals = found(text.replace('top: "ip4" }', f'top: "ip4" {shared} }}'))
    assert not cuts
    reason = next(refusal.reason for refusal in refusals if refusal.at == "ip2")
    assert "share the parameter w" in reason and "net.prototxt" not in reason


def test_two_names_for_one_cut_are_said():
    # Whatever does not depend on the cut blob is net1's: the other branch, in both cases.
    text = NET.replace('bottom: "ip2" top: "ip3"', 'bottom: "ip1" top: "ip3"')
    cuts, refusals = found(text)
    assert [cut.at for cut in cuts] == ["ip1", "ip2", "sum"]
    assert {r.at: r.reason for r in refusals}["ip3"] == "the same cut as ip2"


def test_layers_that_only_look_on_are_not_dual():
    silence = 'layer { name: "quiet" type: "Silence" bottom: "ip1" }'
    head, tail = NET.split('layer { name: "ip2"')
    cuts, _ = found(f'{head}{silence}\nlayer {{ name: "ip2"{tail}')
    assert cuts[0].dual == ["ip2"]
