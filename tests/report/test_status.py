"""What a run is doing, above all when it is in no good state."""

from __future__ import annotations

import json
import os
import time

import numpy as np
import pytest

from dualnet import cli
from dualnet.config import from_dict
from dualnet.exchange import ExchangeSettings, Link, Membership, Message, open_link
from dualnet.report.run_status import PieceStatus, RunStatus
from dualnet.report.status import status
from dualnet.report.status_text import describe
from dualnet.rundir import RunDir
from dualnet.strict_json import to_json
from dualnet.training.checkpoint.commit import Commit, mark_complete, write
from dualnet.training.gauge.status_file import StatusFile
from dualnet.training.loop.links import Links

LINE = "I1122 15:47:14.839432  9521 x.py:8] Iteration {} (2 iter/s, 1s/1 iters), loss = {}\n"


@pytest.fixture
def open_end(tmp_path):
    """Opens ends of a run's link; leaves none behind."""
    opened = []

    def make(name):
        settings = ExchangeSettings(lock_dir=str(tmp_path / "locks"))
        opened.append(Membership(name, str(tmp_path / "run"), settings, {}, beat=False))
        return open_link("files", opened[-1], Link("net1", "net2"), settings)

    (tmp_path / "run").mkdir()
    yield make
    for membership in opened:
        membership.close("failed: test is over")


def message():
    return Message("up", 7, {"pool2": np.zeros((2, 3), np.float32)})


def write_status(path, **facts):
    """What a piece writes about itself."""
    defaults = {
        "iteration": 5, "max_iter": 9, "iterations_per_s": 2.5, "loss": 1.5, "waits_for": "",
        "awaited": "", "waits_s": 0.0,
        "links": {"net1-net2": {"bytes_sent": 70, "bytes_received": 8, "storage_retries": 3}},
    }  # fmt: skip
    path.write_text(json.dumps({**defaults, **facts}))


@pytest.mark.parametrize(
    ("written", "logged", "shown"),
    [("Infinity", "1.5", "loss inf"), (None, "nan", "loss nan"), (1.25, "nan", "loss 1.25")],
)
def test_a_loss_that_is_not_finite_is_shown(tmp_path, written, logged, shown):
    """A piece whose loss is no number looked like one that had shown none."""
    run = tmp_path / "run"
    run.mkdir()
    write_status(run / "single.status.json", loss=written)
    (run / "single.log").write_text(LINE.format(4, logged))
    found = status(RunDir(str(run)))
    assert shown in describe(found)
    record = json.loads(to_json(found.to_dict()), parse_constant=pytest.fail)
    assert (record["pieces"]["single"]["loss"] is None) == (written != 1.25)
    assert ("not_finite" in record) == (written != 1.25)


def test_running_and_waiting(open_end, tmp_path):
    net1, net2 = open_end("net1"), open_end("net2")
    net1.send(message())
    net2.receive("up", 7)
    net1.membership.heartbeat.beat()
    net2.membership.heartbeat.beat()
    run = tmp_path / "run"
    write_status(run / "net1.status.json", waits_for="net2", awaited="down 5", waits_s=4.0)
    write_status(run / "net2.status.json")
    (run / "net2.log").write_text(LINE.format(6, 0.25))
    found = status(RunDir(str(run)))
    one, two = found.pieces["net1"], found.pieces["net2"]
    assert found.problems == []
    assert (one.state, one.waits_for, one.awaited) == ("waiting", "net2", "down 5")
    assert (one.iteration, one.max_iter) == (5, 9)
    assert one.waits_s >= 4.0 and one.iterations_per_s == 2.5
    (link,) = one.links.values()
    assert (link.sent, link.bytes_sent, link.bytes_received, link.retries) == (1, 70, 8, 3)
    assert link.kept_bytes == 24 + 256 and str(os.getpid()) in one.process
    assert one.heartbeat_age_s is not None and one.restarts == 0
    # The log is ahead of the status file.
    assert (two.state, two.iteration, two.loss) == ("running", 6, 0.25)
    assert two.links["net1-net2"].received == 1
    text = describe(found)
    assert "net1    waiting for down 5 of net2, 4 s" in text and "iteration 5/9" in text
    assert json.loads(json.dumps(found.to_dict()))["pieces"]["net2"]["state"] == "running"


@pytest.mark.parametrize("state", ["stopped", "done", "failed: out of memory"])
def test_a_piece_that_left_is_not_waiting(open_end, tmp_path, state):
    open_end("net1").membership.close(state)
    write_status(tmp_path / "run/net1.status.json", waits_for="net2", awaited="down 5")
    piece = status(RunDir(str(tmp_path / "run"))).pieces["net1"]
    assert (piece.state, piece.waits_for, piece.iterations_per_s) == (state, "", None)
    assert status(RunDir(str(tmp_path / "run"))).pieces["net2"].state == "not started"


def test_a_piece_that_was_killed_is_dead(open_end, tmp_path, monkeypatch):
    open_end("net1")
    monkeypatch.setattr("dualnet.exchange.run.host.ProcessId.alive", lambda self, observer: False)
    assert status(RunDir(str(tmp_path / "run"))).pieces["net1"].state == "dead"


def test_a_piece_elsewhere_that_gives_no_sign_is_silent(open_end, tmp_path, monkeypatch):
    open_end("net1")
    monkeypatch.setattr("dualnet.exchange.run.host.ProcessId.alive", lambda self, observer: None)
    run = str(tmp_path / "run")
    assert status(RunDir(run)).pieces["net1"].state == "running"
    old = time.time() - 3600
    os.utime(tmp_path / "run/exchange/net1.e000001.heartbeat", (old, old))
    piece = status(RunDir(run)).pieces["net1"]
    assert piece.state == "silent" and piece.heartbeat_age_s > 3500


def test_restarts_and_checkpoints(open_end, tmp_path):
    run = str(tmp_path / "run")
    open_end("net1").membership.close("failed: killed")
    open_end("net1")
    for iteration in (4, 20):
        path = tmp_path / "run" / f"net1_iter_{iteration}.caffemodel"
        path.write_bytes(b"weights")
        write(RunDir(run).piece("net1"), Commit("net1", iteration), str(path))
    piece = status(RunDir(run)).pieces["net1"]
    assert (piece.restarts, piece.checkpoint, piece.iteration) == (1, 20, 20)
    mark_complete(RunDir(run).piece("net1"), 20)
    assert status(RunDir(run)).pieces["net1"].state == "complete"


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("Solving net\n" + LINE.format(3, 0.5), "silent"),
        ("Solving net\n" + LINE.format(3, 0.5) + "I x] Optimization Done.\n", "done"),
        ("Solving net\nI x] Optimization stopped early.\n", "stopped"),
        ("I x] Optimization stopped early.\nSolving net\n", "silent"),
    ],
)
def test_single_net(tmp_path, log, expected):
    (tmp_path / "single.log").write_text(log)
    found = status(RunDir(str(tmp_path)))
    assert list(found.pieces) == ["single"] and found.pieces["single"].state == expected


def test_single_net_that_runs(tmp_path):
    (tmp_path / "single.log").write_text("Solving net\n")
    write_status(tmp_path / "single.status.json")
    piece = status(RunDir(str(tmp_path))).pieces["single"]
    assert (piece.state, piece.iteration, piece.loss) == ("running", 5, 1.5)


# Broken.


def test_no_such_directory(tmp_path):
    found = status(RunDir(str(tmp_path / "nowhere")))
    assert found.pieces["net1"].state == found.pieces["net2"].state == "not started"
    assert any("No such file" in problem for problem in found.problems)
    assert "problem: " in describe(found)


@pytest.mark.parametrize("garbage", [
    b"", b"\0" * 700, b"{", b"[]", b'{"links": 3, "iteration": "x", "loss": [], "max_iter": {}}',
    b'{"links": {"net1-net2": 3, "a": {"bytes_sent": "x"}}, "waits_for": [], "awaited": {}}',
    b"\xff" * 9, b"[" * 100000, b'{"loss": 1e999, "iteration": true, "waits_s": null}',
])  # fmt: skip
def test_garbage_everywhere(open_end, tmp_path, garbage):
    net1 = open_end("net1")
    net1.send(message())
    net1.membership.close("stopped")
    run = tmp_path / "run"
    for name in ("net1.status.json", "net1.log", "net1_iter_7.checkpoint.json", "net2.status.json"):
        (run / name).write_bytes(garbage)
    for path in [run, *(p for p in (run / "exchange").rglob("*") if p.is_file())]:
        if path.is_file():
            path.write_bytes(garbage)
        found = status(RunDir(str(run)))
        assert describe(found) and to_json(found.to_dict())
    assert found.problems


def test_directories_where_files_should_be(tmp_path):
    for name in ("net1.log", "net1.status.json", "net2_iter_3.checkpoint.json", "exchange/secret"):
        (tmp_path / name).mkdir(parents=True)
    found = status(RunDir(str(tmp_path)))
    assert describe(found) and found.problems


def test_exchange_that_is_a_file(tmp_path):
    (tmp_path / "exchange").write_text("")
    assert status(RunDir(str(tmp_path))).problems


# The command.


def test_command_as_text_and_as_json(open_end, tmp_path, capsys):
    open_end("net1").membership.close("stopped")
    assert cli.main(["status", str(tmp_path / "run")]) == 0
    assert "net1    stopped" in capsys.readouterr().out
    assert cli.main(["status", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pieces"]["net2"]["state"] == "not started"


def test_command_watches_until_interrupted(tmp_path, capsys, monkeypatch):
    naps = []

    def sleep(seconds):
        naps.append(seconds)
        if len(naps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    (tmp_path / "net1.log").write_text("")
    assert cli.main(["status", str(tmp_path), "--watch", "--json"]) == 130
    assert len(capsys.readouterr().out.splitlines()) == 3 and naps == [2.0] * 3
    naps.clear()
    assert cli.main(["status", str(tmp_path), "--watch", "0.5"]) == 130
    assert naps == [0.5] * 3


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "1e9", "runs/a"])
def test_command_refuses_other_pauses(tmp_path, capsys, seconds):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["status", str(tmp_path), f"--watch={seconds}"])
    assert stopped.value.code == 2
    assert f"{seconds}: 0.1 to 86400 seconds are possible" in capsys.readouterr().err


def test_command_refuses_a_directory_that_is_no_run(tmp_path, capsys):
    """It listed two pieces that had not started, and exited with 0."""
    for path, reason in ((tmp_path, ""), (tmp_path / "nowhere", ", and no such directory")):
        assert cli.main(["status", str(path)]) == 2
        printed, errors = capsys.readouterr()
        assert printed == "" and errors == (
            f"dualnet: {path}: no run here{reason}; name the directory that was given as "
            "--run-dir\n"
        )


# What the pieces come to.


LOSS = LINE.format("{}", "{}")
TEST = (
    "I1122 15:47:14.9 9521 x.py:8] Iteration {}, Testing net (#0)\n"
    "I1122 15:47:14.9 9521 x.py:8]     Test net output #0: accuracy = {}\n"
)


def test_the_loss_that_counts_the_accuracy_and_the_time_left(tmp_path):
    (tmp_path / "config.yaml").write_text(from_dict({"coupling": {"gamma": 10.0}}).to_yaml())
    for name in ("net1", "net2"):
        (tmp_path / f"{name}_solver.prototxt").write_text("")
    for name, rate, iteration in (("net1", 2.0, 50), ("net2", 4.0, 40)):
        write_status(
            tmp_path / f"{name}.status.json", iteration=iteration, max_iter=100, loss=75.25,
            iterations_per_s=rate,
        )  # fmt: skip
    (tmp_path / "net2.log").write_text(
        LOSS.format(0, 2.5) + TEST.format(0, 0.125) + TEST.format(40, 0.75) + LOSS.format(40, 0.5)
    )
    found = status(RunDir(str(tmp_path)))
    assert (found.counting, found.accuracy, found.tested_at) == ("net2", 0.75, 40)
    assert found.pieces["net1"].meaning == "size of the gradient from net2, not meant to fall"
    assert found.pieces["net2"].meaning == "the loss that counts, on the labels"
    # Nothing runs, so that nobody knows how long it will take.
    assert found.seconds_left is None
    assert describe(found).splitlines()[1:3] == [
        "  iteration 40/100",
        "  loss 0.5 (net2's, the one that counts), test accuracy 0.75 at iteration 40",
    ]
    assert "loss 75.25: size of the gradient from net2, not meant to fall" in describe(found)
    json.loads(to_json(found.to_dict()))


def test_the_slowest_piece_says_how_long_it_will_take(tmp_path):
    (tmp_path / "single.log").write_text("Solving net\n")
    write_status(tmp_path / "single.status.json", iteration=40, max_iter=100, iterations_per_s=0.5)
    found = status(RunDir(str(tmp_path)))
    assert found.seconds_left == 120.0 and found.counting == "single" and found.accuracy is None
    assert "  iteration 40/100, 0.5 iterations/s, 2 min left\n" in describe(found)


def test_who_holds_up_the_others_is_said_above(tmp_path):
    waits = {"net1": ("net2", 30.0), "net2": ("net3", 29.0), "net3": ("", 0.0)}
    pieces = {
        name: PieceStatus(name, "waiting" if awaited else "running", waits_for=awaited, waits_s=s)
        for name, (awaited, s) in waits.items()
    }
    text = describe(RunStatus("runs/a", pieces=pieces))
    assert text.splitlines()[1] == "  net1 waits for net2, net2 for net3, 30 s"


def test_every_piece_of_the_chain_is_listed_before_it_has_started(tmp_path):
    pieces = {f"net{n}": {"solver": "solver.prototxt"} for n in (1, 2, 3)}
    config = from_dict({**pieces, "cut1": {}, "cut2": {}})
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    found = status(RunDir(str(tmp_path))).pieces
    assert {name: piece.state for name, piece in found.items()} == dict.fromkeys(
        ("net1", "net2", "net3"), "not started"
    )


def test_a_piece_in_the_middle_shows_both_links_and_what_it_waits_for(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    settings = ExchangeSettings(lock_dir=str(tmp_path / "locks"))
    pieces, links = ("net1", "net2", "net3"), (Link("net1", "net2"), Link("net2", "net3"))
    memberships = {name: Membership(name, str(run), settings, {}, beat=False) for name in pieces}
    try:
        ends = {
            (name, link.name): open_link("files", memberships[name], link, settings)
            for link in links for name in (link.lower, link.upper)
        }  # fmt: skip
        ends["net1", "net1-net2"].send(message())
        ends["net2", "net1-net2"].receive("up", 7)
        for _ in range(2):
            ends["net2", "net2-net3"].send(message())
        made = Links([ends["net2", link.name] for link in links])
        assert made.waiting is None and list(made.by_link) == ["net1-net2", "net2-net3"]
        ends["net2", "net2-net3"].awaited = "down 7"
        StatusFile(RunDir(str(run)).piece("net2"), 50, made).show(7, 0.5, now=True)
        for membership in memberships.values():
            membership.heartbeat.beat()
        found = status(RunDir(str(run)))
    finally:
        for membership in memberships.values():
            membership.close("failed: test is over")
    assert list(found.pieces) == list(pieces) and found.problems == []
    middle = found.pieces["net2"]
    assert (middle.state, middle.waits_for, middle.awaited) == ("waiting", "net3", "down 7")
    below, above = middle.links["net1-net2"], middle.links["net2-net3"]
    assert (below.sent, below.received, above.sent, above.received) == (0, 1, 2, 0)
    assert (below.bytes_received, above.bytes_sent, below.bytes_sent) == (24, 48, 0)
    assert list(found.pieces["net1"].links) == ["net1-net2"]
    text = describe(found)
    assert "net2    waiting for down 7 of net3, 0 s" in text
    assert "net2-net3: 2 messages sent (4.8e-05 MB), 0 received" in text


def test_a_piece_that_is_stopped_is_not_waiting(open_end, tmp_path):
    """It was said to wait for the piece that waited for it."""
    for name in ("net1", "net2"):
        open_end(name).membership.heartbeat.beat()
    run = tmp_path / "run"
    write_status(run / "net1.status.json", waits_for="net2", awaited="down 5", waits_s=30.0)
    write_status(run / "net2.status.json", waits_for="net1", awaited="up 5", waits_s=0.2)
    old = time.time() - 30
    os.utime(run / "net2.status.json", (old, old))
    found = status(RunDir(str(run)))
    assert (found.pieces["net2"].state, found.pieces["net2"].waits_for) == ("running", "")
    assert describe(found).splitlines()[3] == "  net1 waits for net2, 30 s"
