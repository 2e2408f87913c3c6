"""The comparison of plans with trainings: what is trained, predicted, and said."""

from __future__ import annotations

import json

import pytest

from dualnet.strict_json import to_json
from scripts import bench_plan
from scripts.bench_plan import (
    WARM_UP,
    Case,
    arguments,
    chosen,
    iteration_s,
    one_round,
    predict,
    summary,
    table,
)
from tests.cut.plan.planning import planned

MEASURED = planned().measured


def test_chains_of_all_lengths_are_trained_under_each_schedule(monkeypatch, tmp_path):
    options = arguments().parse_args(["--pieces", "2", "3", "--rounds", "1", "-o", str(tmp_path)])
    trained = []
    monkeypatch.setattr(bench_plan, "measure", lambda request: MEASURED)
    monkeypatch.setattr(bench_plan, "train", lambda o, case, folder: trained.append(case) or 2.0)
    found = one_round(options, tmp_path / "0", [])
    assert [(case.schedule, case.pieces) for case in trained] == [
        (schedule, pieces)
        for pieces in (2, 3)
        for schedule in ("alternating", "overlapped", "pipelined")
    ]
    assert trained[0].cuts == trained[1].cuts and (tmp_path / "plan.png").exists()
    record = json.loads(to_json(summary(options, [found, found])))
    row = record["chains"][0]
    assert row["ratio"] == row["ratios"][1] == pytest.approx(row["predicted_s"] / 2)
    text = table(record)
    assert f"| alternating | 2 | {row['at'][0][0]} |" in text and "2000 ms" in text


def test_predictions_are_the_plans():
    options = arguments().parse_args(["--every-cut", "--schedules", "alternating"])
    request = planned().request
    cases = list(chosen(options, request, MEASURED))
    assert [case.cuts[0][0] for case in cases] == [("ip1",), ("ip2",), ("ip3",), ("sum",)]
    for case, chain in zip(cases, planned().cuts):
        assert predict(request, MEASURED, case) == chain.outcomes["alternating"].seconds
    assert Case("overlapped", cases[0].cuts).name == "overlapped, 2 pieces, cut at ip1"


def test_iterations_that_differ_in_turn_are_counted_together():
    # Two iterations ahead: every third takes longer, and the last two have less to do.
    steps = [9.0] * WARM_UP + [1.0, 1.0, 4.0] * 5 + [0.5, 0.5]
    times = [sum(steps[:count]) for count in range(len(steps) + 1)]
    assert iteration_s(times, 2) == pytest.approx(2.0)
    assert iteration_s([2.0 * count for count in range(20)], 0) == 2.0
