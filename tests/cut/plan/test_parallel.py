"""Cuts of several blobs: siamese nets, branches of their own data, twins on a trunk."""

from __future__ import annotations

from itertools import combinations

import pytest

from dualnet.cut.dataflow import DataflowGraph
from dualnet.cut.plan.cut_plan import Request, plan
from dualnet.cut.plan.cuts import can_follow, find_cuts
from dualnet.cut.plan.record import to_record
from dualnet.cut.plan.table import to_text
from dualnet.cut.shapes import build
from dualnet.cut.split import Request as SplitRequest
from dualnet.cut.split import split, write
from tests.cut.both import train_whole_and_cut
from tests.cut.singles import CHAIN, DATA, classifier, conv, relu, write_single
from tests.cut.split.topologies import SIAMESE

pytestmark = pytest.mark.usefixtures("workdir")

SHARED = "param { name: '%s_w' } param { name: '%s_b' }"
SUM = (
    "layer { name: 'sum' type: 'Eltwise' bottom: '%s' bottom: '%s' top: 'sum' "
    "eltwise_param { coeff: 1 coeff: -1 } }\n"
)


def twin(name, bottom, parameter):
    return conv(name, bottom, more=SHARED % (parameter, parameter))


#: Other values than the first branch's: equal branches would cancel, and nothing would be learnt.
BENT = (
    "layer { name: 'bent' type: 'Power' bottom: '%s' top: 'bent' "
    "power_param { power: 2 scale: 0.3 shift: -0.5 } }\n"
)
#: Four layers a branch, with ReLUs in place.
DEEP = (
    DATA
    + twin("a1", "data", "p") + relu("ra", "a1") + twin("a2", "a1", "q") + twin("a3", "a2", "r")
    + BENT % "data"
    + twin("b1", "bent", "p") + relu("rb", "b1") + twin("b2", "b1", "q") + twin("b3", "b2", "r")
    + SUM % ("a3", "b3") + classifier("sum")
)  # fmt: skip
#: Two versions that share nothing, one longer than the other.
STREAMS = (
    DATA + conv("a1", "data") + conv("a2", "a1") + conv("a3", "a2")
    + BENT % "data" + conv("b1", "bent") + SUM % ("a3", "b1") + classifier("sum")
)  # fmt: skip
#: Twins above a common trunk.
TRUNK = (
    DATA + conv("trunk", "data") + twin("a1", "trunk", "p") + twin("a2", "a1", "q")
    + BENT % "trunk" + twin("b1", "bent", "p") + twin("b2", "b1", "q")
    + SUM % ("a2", "b2") + classifier("sum")
)  # fmt: skip
TRIPLET = (
    DATA + twin("a1", "data", "p") + twin("a2", "a1", "q")
    + BENT % "data" + twin("b1", "bent", "p") + twin("b2", "b1", "q")
    + relu("third", "data", "third") + twin("c1", "third", "p") + twin("c2", "c1", "q")
    + "layer { name: 'sum' type: 'Eltwise' bottom: 'a2' bottom: 'b2' bottom: 'c2' top: 'sum' "
    "eltwise_param { coeff: 1 coeff: -1 coeff: 2 } }\n" + classifier("sum")
)  # fmt: skip
#: An Inception module: its branches share nothing but the trunk, which can be cut.
MODULE = (
    DATA + conv("trunk", "data") + conv("left", "trunk") + conv("right", "trunk")
    + SUM % ("left", "right") + classifier("sum")
)  # fmt: skip


def cuts_of(folder, text):
    path = write_single(folder, text)
    from dualnet.cut.graph import read_net

    dataflow = DataflowGraph(read_net(path), path)
    built = build(dataflow, "TRAIN", {})
    return find_cuts(dataflow, built.learning(dataflow))[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SIAMESE, {"left right": ["a", "b"], "sum": ["ip"]}),
        (DEEP, {"a1 b1": ["a2", "b2"], "a2 b2": ["a3", "b3"], "sum": ["ip"]}),
        (TRUNK, {"trunk": ["a1", "b1"], "a1 b1": ["a2", "b2"], "sum": ["ip"]}),
        (TRIPLET, {"a1 b1 c1": ["a2", "b2", "c2"], "sum": ["ip"]}),
    ],
)  # fmt: skip
def test_twins_are_cut_together(tmp_path, text, expected):
    found = {cut.at: cut.dual for cut in cuts_of(tmp_path, text)}
    for at, dual in expected.items():
        if at != "trunk":  # its dual section needs both twins, which one blob does not lead to
            assert found[at] == dual, at
    assert {at for at in found if " " in at} == {at for at in expected if " " in at}


def test_streams_that_share_nothing_are_cut_by_one_name(tmp_path):
    """The other version belongs to net1 whole, and its end crosses unasked: no second name."""
    cuts = {cut.at: cut.crossing for cut in cuts_of(tmp_path, STREAMS)}
    assert cuts["a1"] == ["a1", "b1"] and cuts["a2"] == ["a2", "b1"]
    assert not any(" " in at for at in cuts)


@pytest.mark.parametrize("text", [MODULE, CHAIN])
def test_nothing_is_added_where_a_trunk_can_be_cut(tmp_path, text):
    assert all(len(cut.blobs) == 1 for cut in cuts_of(tmp_path, text))


def test_cuts_stand_in_forward_order(tmp_path):
    assert [cut.at for cut in cuts_of(tmp_path, DEEP)] == ["a3", "a1 b1", "a2 b2", "sum"]


@pytest.mark.parametrize("text", [SIAMESE, DEEP, TRUNK, STREAMS, TRIPLET])
def test_each_cut_trains_as_the_single_net(tmp_path, text):
    for number, cut in enumerate(cuts_of(tmp_path, text)):
        if len(cut.blobs) > 1:
            path = str(tmp_path / "single_train_test.prototxt")
            folder = str(tmp_path / f"cut{number}")
            request = SplitRequest(path, [(cut.blobs, cut.dual)], folder)
            result = split(request)
            write(request, result)
            settings = ("train.batch_size=8", "update.learning_rate=0.001")
            outcome = train_whole_and_cut(result.yaml, f"{folder}/run", 2, *settings)
            assert outcome.weight < 1e-5, cut.at


@pytest.mark.parametrize("text", [SIAMESE, DEEP, TRUNK, STREAMS, CHAIN])
def test_every_chain_that_is_planned_can_be_split(tmp_path, text):
    path = write_single(tmp_path, text)
    cuts = cuts_of(tmp_path, text)
    tried = 0
    for low, high in combinations(cuts, 2):
        if can_follow(low, high):
            names = [(cut.blobs, cut.dual) for cut in (low, high)]
            assert len(split(SplitRequest(path, names, "out")).contents) > 6
            tried += 1
    assert tried or text is SIAMESE


def test_a_plan_shows_them_and_the_command_that_makes_one(tmp_path):
    found = plan(Request(write_single(tmp_path, SIAMESE), repeats=1))
    rows = {chain.cuts[0].at: chain for chain in found.cuts}
    (link,) = rows["left right"].outcomes["alternating"].links
    assert link.up_bytes > 0
    text, record = to_text(found), to_record(found)
    assert "left+right" in text
    (row,) = [cut for cut in record["cuts"] if cut["at"] == "left right"]
    assert row["blobs"] == ["left", "right"] and row["dual"] == ["a", "b"]
