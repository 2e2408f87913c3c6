"""The fault campaign: it counts what it did, goes on where it was, and hides no failure."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dualnet.config import load
from scripts.fault_campaign import report
from scripts.fault_campaign.chain import SCHEDULES, Chain
from scripts.fault_campaign.draw import LAST_POINTS
from scripts.fault_campaign.fault_catalogue import CATALOGUE
from scripts.fault_campaign.lab import ROOT
from scripts.fault_campaign.ledger import Ledger
from scripts.fault_campaign.moments import POINTS
from tests.exchange.cases import CASES


def campaign(repository: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.fault_campaign", *words],
        cwd=repository, capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_a_part_that_was_cut_off_goes_on_behind_its_last_row(tmp_path: Path) -> None:
    path = tmp_path / "new" / "kills.jsonl"
    Ledger(path).add({"kills": 3, "wrong": ""})
    with open(path, "a", encoding="utf-8") as file:
        file.write('{"kills": 4, "wro')
    again = Ledger(path)
    assert [(row["kills"], row["wrong"]) for row in again.rows] == [(3, "")]
    again.add({"kills": 5, "wrong": ""})
    assert [json.loads(line)["kills"] for line in path.read_text().splitlines()] == [3, 5]


def test_chains_of_each_length_have_rows_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "points.jsonl"
    path.write_text('{"role": "net1", "wrong": "x"}\n')  # as the first campaigns wrote them
    ledger = Ledger(path, 3)
    assert ledger.rows == []
    ledger.add({"piece": "net2", "wrong": "y"})
    assert [row["piece"] for row in Ledger(path, 2).rows] == ["net1"]
    ledger.drop(lambda row: bool(row["wrong"]))
    assert [row["piece"] for row in Ledger(path).rows] == ["net1"]


def kills(wrong: str) -> dict:
    detail = {"victims": ["net1"], "phases": {"net1": "recovery"}, "reached": {"net1": 7}}
    return {
        "provider": "engine", "schedule": "pipelined", "carrier": "tcp", "rule": "prox",
        "kills": 1, "signals": 1, "wrong": wrong, "details": [detail], "pieces": 3,
        "repeated_iterations": [2], "recovery_s": [0.5], "replayed_messages": 4,
    }  # fmt: skip


def test_report_counts_and_names_what_went_wrong(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "kills.jsonl")
    ledger.add(kills(""))
    ledger.add(kills(""))
    text = report.write(tmp_path, 1).read_text()
    assert "**2 random kills" in text and "none went wrong" in text
    assert "### Chains of 3 pieces" in text
    assert "| engine | pipelined | 2 | 2 | 2 | 0 | 0 | 0 | 0 | 2 | 0 | 0 | 0 |" in text
    assert "prox over tcp 2." in text
    assert "| 5. SIGKILL during a recovery | resume | 2 |  |" in text
    ledger.add(kills("the digest differs"))
    text = report.write(tmp_path, 1).read_text()
    assert "1 went wrong" in text and "kills: the digest differs" in text
    assert "| 3. random SIGKILL, one piece | resume | 3 | 1 |" in text


def test_variants_of_a_chain() -> None:
    chain = Chain(3)
    variants = chain.variants()
    assert len(set(variants)) == len(variants) == 28
    # The first ones are all that there is of the exact rules and prox, each on both carriers.
    found = {(one.schedule, one.rule) for one in variants[:9]}
    assert found == {(s, r) for s in SCHEDULES for r in ("gradient", "backprop", "prox")}
    assert all(a.schedule != b.schedule for a, b in zip(variants[:9], variants[1:9]))
    for one in variants:
        assert (one.rule == "prox") == any("cut2.target=prox" in text for text in one.trained)
        load(str(ROOT / "configs" / "cifar10_three.yaml"), [*one.settings, "train.batch_size=8"])


def test_every_fault_is_injected_or_says_where_it_is() -> None:
    assert [fault.number for fault in CATALOGUE] == list(range(1, 41))
    in_process = {case.number for case in CASES}
    for fault in CATALOGUE:
        assert fault.number in in_process or fault.parts or fault.remark


def test_the_points_at_which_pieces_are_killed_exist() -> None:
    """A function that was renamed would never be called, and nobody killed there."""
    for module, owner, name in (*POINTS, *LAST_POINTS):
        place = importlib.import_module(module)
        assert callable(getattr(getattr(place, owner) if owner else place, name))


def test_cases_and_copies(repository: Path, tmp_path: Path) -> None:
    done = campaign(repository, "copies", "nfs", "--count", "2", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    rows = Ledger(tmp_path / "copies.jsonl").rows
    assert [(row["nodes"], row["won"]) for row in rows] == [(1, 1), (8, 1)]


@pytest.mark.slow
def test_a_few_kills(repository: Path, tmp_path: Path) -> None:
    done = campaign(repository, "kills", "--count", "3", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    rows = Ledger(tmp_path / "kills.jsonl").rows
    assert sum(row["kills"] for row in rows) == 3
    assert not any(row["wrong"] for row in rows)
