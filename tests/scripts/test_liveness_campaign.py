"""The part `liveness` of the fault campaign: drawn by number alone, side by side, and honest."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, replace

import pytest

from dualnet.config import load
from scripts.fault_campaign import liveness, liveness_report
from scripts.fault_campaign.chain import Chain
from scripts.fault_campaign.crowd import descendants, side_by_side
from scripts.fault_campaign.disturbed import Disturbed
from scripts.fault_campaign.draw import LAST_POINTS, Life, draw
from scripts.fault_campaign.ledger import Ledger
from scripts.fault_campaign.strangers import Strangers

PLANS = [draw(1701, number, Chain(3)) for number in range(500)]


# What is drawn.


def test_a_number_has_one_plan_and_seeds_have_different_ones():
    assert draw(1701, 42, Chain(3)) == PLANS[42]
    assert draw(7, 42, Chain(3)) != PLANS[42] != PLANS[43]


def test_every_plan_is_a_valid_configuration(repository):
    for pieces, name in ((3, "cifar10_three.yaml"), (2, "digits.yaml")):
        config = str(repository / "configs" / name)
        plans = [draw(7, number, Chain(pieces)) for number in range(250)]
        for settings in {(*plan.trained, *plan.others) for plan in plans}:
            load(config, settings)


def test_plans_vary_in_all_that_matters():
    def share(key):
        return Counter(
            setting.partition("=")[2]
            for plan in PLANS
            for setting in (*plan.trained, *plan.others)
            if setting.startswith(f"{key}=")
        )

    assert min(share("exchange.carrier").values()) >= 50
    assert set(share("exchange.carrier")) == {"files", "tcp", "torch"}
    assert min(share("train.schedule")[name] for name in ("overlapped", "pipelined")) >= 100
    assert set(share("train.staleness")) >= {"1", "2", "3", "4"}
    assert {"gradient", "backprop", "activation"} <= set(share("coupling.target"))
    assert set(share("cut2.target")) == {"prox", "admm"}
    assert set(share("coupling.tie")) == {"never", "start", "every"}
    assert {"float16", "bfloat16", "int8"} == set(share("exchange.dtype"))
    assert len(share("exchange.restart_grace_s")) > 50 < len(share("exchange.dead_after_s"))
    assert 100 <= sum(share("convergence.window").values()) <= 300
    modes = Counter(plan.mode for plan in PLANS)
    assert modes["commands"] == modes["train"] == 25
    faults = [fault for plan in PLANS for fault in plan.rounds]
    assert {fault.signal for fault in faults} == {"KILL", "TERM", "INT", "USR1", "HUP", "STOP"}
    assert {fault.when for fault in faults} == {"time", "reached", "ending", "recovery"}
    # Longer than the 5 s after which a wait is noted, and than many a grace.
    assert sum(fault.pause_s > 5 for fault in faults) > 50 < sum(f.pause_s == 0 for f in faults)
    victims = {name for fault in faults for name in fault.victims}
    assert victims == {"parent", "group", "net1", "net2", "net3"}
    assert max(len(fault.victims) for fault in faults) == 3
    lives = [life for fault in faults for life in fault.lives.values()]
    assert all(any(getattr(life, key) is not None for life in lives) for key in asdict(Life()))


def test_named_points_exist():
    for module, owner, name in LAST_POINTS:
        place = __import__(module, fromlist=["x"])
        assert callable(getattr(getattr(place, owner) if owner else place, name))


# How they are run.


def test_side_by_side_gives_every_row_and_says_what_failed():
    def watch(number):
        if number == 2:
            raise ValueError("two")
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"square": number * number, "wrong": ""}

    rows = dict(side_by_side(range(5), 2, watch))
    assert [rows[number].get("square") for number in range(5)] == [0, 1, None, None, 16]
    assert "ValueError: two" in rows[2]["wrong"] and "ended with status" in rows[3]["wrong"]


def test_a_watching_process_sees_what_its_children_leave_behind():
    def watch(number):
        code = "import os,time\nif os.fork(): os._exit(0)\ntime.sleep(60)"
        subprocess.run([sys.executable, "-S", "-c", code], check=True)
        left = descendants(os.getpid())
        for pid in left:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        return {"left": list(left.values()), "after": len(descendants(os.getpid()))}

    ((_, row),) = side_by_side([1], 1, watch)
    assert len(row["left"]) == 1 and "time.sleep(60)" in row["left"][0]
    assert row["after"] == 0


def test_watching_processes_end_with_the_campaign(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # a killed campaign leaves its rows

    def watch(number):
        time.sleep(60)
        return {}

    rows = side_by_side(range(2), 2, watch)
    campaign = os.fork()
    if not campaign:
        next(rows)
        os._exit(0)
    while len(descendants(campaign)) < 2:
        time.sleep(0.01)
    watching = descendants(campaign)
    os.kill(campaign, signal.SIGKILL)
    os.waitpid(campaign, 0)
    limit_s = time.monotonic() + 10
    while any(os.path.exists(f"/proc/{pid}") for pid in watching):
        assert time.monotonic() < limit_s
        time.sleep(0.01)


def test_strangers_come_again_when_they_are_turned_away():
    def watch(number):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            listener = os.fork()
            if not listener:
                time.sleep(60)
                os._exit(0)
            strangers = Strangers(3)
            met = []
            for _ in range(9):
                met.append(server.accept()[0])
                if len(met) % 3 == 0:
                    for sock in met[-3:]:
                        sock.close()
            strangers.stop()
            os.kill(listener, signal.SIGKILL)
            os.waitpid(listener, 0)
        return {"met": len(met), "port": port, "left": len(descendants(os.getpid()))}

    ((_, found),) = side_by_side([1], 1, watch)
    assert (found["met"], found["left"]) == (9, 0)


@pytest.mark.parametrize(
    ("text", "is_odd"),
    [
        ("dualnet: net2 is gone\n", False),
        ('Traceback (most recent call last):\n  File "x"\nValueError: x\n', True),
        # Python's own, of Ctrl-C before the command has begun.
        (
            'Traceback (most recent call last):\n  File "x"\n    import y\nKeyboardInterrupt\n',
            False,
        ),
        ("Exception ignored in: <function>\n", True),
    ],
)
def test_tracebacks_in_outputs_are_odd(tmp_path, monkeypatch, text, is_odd):
    monkeypatch.chdir(tmp_path)
    training = object.__new__(Disturbed)
    training.mode, training.ends = "forked", [["net1", 71], ["net2", -9]]
    training.settings = ("exchange.carrier=tcp",)
    training.run_dir = training.output = "live"
    (tmp_path / "live-net1.err").write_text(text)
    assert bool(training.odd()) == is_odd
    training.ends.append(["net1", 2])
    assert "net1 ended with 2" in training.odd()
    training.ends = [["what still hangs", None]]
    assert "hangs" in training.odd()


@pytest.mark.parametrize(("carrier", "files"), [("torch", 3), ("torch", None), ("tcp", 3)])
def test_an_abort_is_odd_unless_pytorch_lacks_files(tmp_path, monkeypatch, carrier, files):
    monkeypatch.chdir(tmp_path)
    training = object.__new__(Disturbed)
    training.mode, training.ends = "forked", [["net1", -signal.SIGABRT]]
    training.run_dir = training.output = "live"
    training.settings = (f"exchange.carrier={carrier}",)
    training.plan = replace(PLANS[0], first_lives={"net1": Life(files=files)}, rounds=())
    assert bool(training.odd()) == ((carrier, files) != ("torch", 3))


# What is said of them.


def row(number, wrong="", **changes):
    fault = {"signal": "KILL", "victims": {"net1": "ending"}, "again": "both", "started": []}
    return {
        "training": number, "seed": 1701, **liveness._facts(PLANS[number]), "faults": [fault],
        "took_s": 2.0, "codes": [["net1", -9], ["net1", 0]], "complete": True, "digest": True,
        "most_copies": 1, "wrong": wrong, **changes,
    }  # fmt: skip


def test_the_report_counts_what_did_not_complete_and_what_is_wrong():
    rows = [row(number) for number in range(30)]
    text = "\n".join(liveness_report.section(rows))
    assert "**30 trainings with 30 signals and 30 processes killed" in text
    assert "Moments that signals met: ending 30." in text
    assert "30 completed by the same command given once, none with a wrong digest.**" in text
    rows[3] = row(3, "the digest differs", digest=False)
    rows[4] = row(4, "exit codes", complete=False, digest=None)
    rows.append({"training": 30, "seed": 1701, "wrong": "the campaign: a traceback"})
    text = "\n".join(liveness_report.section(rows))
    assert "**31 trainings" in text and ": 29 completed" in text
    assert "1 with a wrong digest; 3 with something else" in text
    assert liveness_report.section([]) == []


def test_rows_that_went_wrong_can_be_done_again(tmp_path):
    ledger = Ledger(tmp_path / "liveness.jsonl")
    for number, wrong in enumerate(("", "hangs", "")):
        ledger.add(row(number, wrong))
    ledger.drop(lambda found: bool(found["wrong"]))
    lines = (tmp_path / "liveness.jsonl").read_text().splitlines()
    assert [json.loads(line)["training"] for line in lines] == [0, 2] == [
        found["training"] for found in ledger.rows
    ]  # fmt: skip


@pytest.mark.slow
def test_three_trainings(repository, tmp_path):
    words = ["liveness", "--count", "4", "--jobs", "2", "--output", str(tmp_path), "--seed", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "scripts.fault_campaign", *words, "--only", "1", "--only", "2",
         "--only", "3"],
        cwd=repository, capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = Ledger(tmp_path / "liveness.jsonl").rows
    assert sorted(found["training"] for found in rows) == [1, 2, 3]
    assert all(found["complete"] and found["digest"] for found in rows)
