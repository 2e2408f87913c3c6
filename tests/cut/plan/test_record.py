"""Plans for programs."""

from __future__ import annotations

import json

import pytest

from dualnet.cut.plan.record import to_record
from tests.cut.plan.planning import planned


def test_record_is_json_able_and_whole(small):
    record = json.loads(json.dumps(to_record(small)))
    assert [cut["at"] for cut in record["cuts"]] == ["ip1", "ip2", "ip3", "sum"]
    cut = record["cuts"][0]
    assert cut["up_bytes"] == 112 and cut["net1"]["parameters"] == 89
    assert cut["alternating_s"] == small.cuts[0].outcomes["alternating"].seconds
    assert record["processors"] == small.request.processors
    assert record["recommended"] == (small.best and [small.best.cuts[0].blobs])
    assert record["refused"]["loss"]
    assert list(record["schedules"]) == ["alternating", "overlapped", "pipelined"]


def test_a_chain_has_its_pieces_and_links():
    plan = planned(pieces=3, schedule="pipelined")
    record = to_record(plan)["schedules"]["pipelined"]
    outcome = plan.choice.chain.outcomes["pipelined"]
    assert len(record["at"]) == len(record["dual"]) == len(record["links"]) == 2
    assert record["micro_batches"] == 4 and record["iteration_s"] == outcome.seconds
    # Times and bytes are those of an iteration, of all micro-batches.
    piece, cost = record["pieces"][0], outcome.pieces[0]
    assert piece["forward_s"] == pytest.approx(4 * (cost.forward_s + cost.dual_s))
    assert record["links"][0]["up_bytes"] == 4 * outcome.links[0].up_bytes
    assert to_record(planned(pieces=6))["schedules"]["pipelined"]["at"] is None
