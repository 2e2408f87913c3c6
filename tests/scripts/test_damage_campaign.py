"""The part `damage` of the fault campaign: what it does to files, and what it takes for wrong."""

from __future__ import annotations

import os
import random
import stat

import pytest

from scripts.fault_campaign import damage, damage_report
from scripts.fault_campaign.chain import Chain
from scripts.fault_campaign.training import Training


@pytest.mark.parametrize("what", sorted(damage.DAMAGES))
def test_each_damage_changes_the_bytes_and_nothing_else(what):
    chance, data = random.Random(7), b"iteration: 12, loss: 3.5" * 4
    changed = [damage.DAMAGES[what](data, chance, b"\0" * 200) for _ in range(50)]
    assert sum(result != data for result in changed) >= 45
    assert len(set(changed)) > 3


@pytest.mark.parametrize("data", [b"x", b"no number"])
def test_damages_take_any_file(data):
    chance = random.Random(7)
    for change in damage.DAMAGES.values():
        for _ in range(20):
            change(data, chance, b"y")


@pytest.mark.parametrize("what", damage.REPLACED)
def test_what_stands_in_a_files_place(tmp_path, what):
    path = tmp_path / "net1.log"
    path.write_bytes(b"log")
    damage._replace(path, what)
    found = os.lstat(path).st_mode if os.path.lexists(path) else 0
    expected = {"a directory": stat.S_ISDIR, "a FIFO": stat.S_ISFIFO}.get(what, stat.S_ISLNK)
    assert found == 0 if what == "nothing" else expected(found)


def test_every_kind_of_file_is_met_however_few_there_are(tmp_path):
    for number in range(50):
        (tmp_path / f"net1.i{number:012d}.npy").write_bytes(b"message")
    (tmp_path / "manifest.json").write_bytes(b"{}")
    names = [damage._damage(tmp_path, random.Random(seed))[0] for seed in range(12)]
    assert 2 <= names.count("manifest.json") <= 10


def judged(tmp_path, monkeypatch, code, text):
    """The problems of a command that ended so."""
    monkeypatch.chdir(tmp_path)
    training = Training("visit", (), Chain(3))
    training.output = "status"
    (tmp_path / "status-out").write_text(text)
    training.codes["status"] = code
    visit = damage._Visit(Chain(3))
    visit._judge(training, "status", "out")
    return visit.problems


@pytest.mark.parametrize(
    ("code", "text", "is_wrong"),
    [
        (0, "done\n", False),
        (2, "dualnet: run: no run here\n", False),
        (2, "", True),  # does not say why
        (77, "dualnet: no memory\n", True),
        (-7, "", True),  # SIGBUS
        (1, "Traceback (most recent call last):\nValueError\n", True),
    ],
)
def test_what_is_wrong(tmp_path, monkeypatch, code, text, is_wrong):
    assert bool(judged(tmp_path, monkeypatch, code, text)) == is_wrong


def test_report_counts():
    row = {"base": "killed", "file": "run/N", "damage": "grown", "codes": {"net1": 0, "net2": 0}}
    rows = [{**row, "wrong": ""}, {**row, "codes": {"net1": 2}, "wrong": ""}, {**row, "wrong": "x"}]
    text = "\n".join(damage_report.section(rows))
    assert "**3 files damaged or replaced, 1 with" in text
    assert "killed between two checkpoints | 1 | 3 | 1 | 1 | 1 |" in text
    assert damage_report.section([]) == []
