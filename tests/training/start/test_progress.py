"""Progress for people: lines where there is no terminal, and logs followed while they grow."""

from __future__ import annotations

import io
import json
import os
import time
from types import SimpleNamespace

import pytest

from dualnet.rundir import RunDir
from dualnet.training.start.progress import LogWatcher, ProgressBar, follow

LOSS = "I1122 15:47:14.8 9521 net2.py:8] Iteration {} (2.5 iter/s, 4s/10 iters), loss = {}\n"
ACCURACY = "I1122 15:47:14.8 9521 net2.py:8]     Test net output #0: accuracy = {}\n"
DONE = "I1122 15:47:14.8 9521 net2.py:8] Optimization Done.\n"


class Recorder:
    """Stands in for the bar."""

    def __init__(self, total):
        self.total, self.shown, self.is_closed = total, [], False

    def update(self, done, facts, wait=""):
        self.shown.append((done, {**facts, **({"wait": wait} if wait else {})}))

    def close(self):
        self.is_closed = True


@pytest.fixture
def bars(monkeypatch):
    made = []

    def make(total):
        made.append(Recorder(total))
        return made[-1]

    monkeypatch.setattr("dualnet.training.start.progress.ProgressBar", make)
    return made


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock; a test moves it."""
    now = SimpleNamespace(s=100.0)
    monkeypatch.setattr(time, "monotonic", lambda: now.s)
    return now


@pytest.fixture
def run(tmp_path):
    """The pieces of a run in a directory, and how to write their logs and status files."""
    directory = RunDir(str(tmp_path))

    def pieces(*names):
        return [directory.piece(name) for name in names]

    def write(name, *lines, mode="a"):
        with open(tmp_path / f"{name}.log", mode) as file:
            file.write("".join(lines))

    def say(name, **facts):
        # Written as a piece does: another file each time.
        path = tmp_path / f"{name}.status.json"
        temporary = tmp_path / "temporary"
        temporary.write_text(json.dumps(facts))
        os.replace(temporary, path)

    return SimpleNamespace(pieces=pieces, write=write, say=say)


# Lines.


def test_lines_without_a_terminal(capsys):
    bar = ProgressBar(4, every_s=0.0)
    bar.update(1, {"loss": "2.3"})
    bar.update(1, {"loss": "2.2"})  # nothing new
    bar.update(4, {"loss": "2.1", "accuracy": "0.5"})
    bar.close()
    assert capsys.readouterr().err.splitlines() == [
        "iteration 1/4, loss 2.3",
        "iteration 4/4, loss 2.1, accuracy 0.5",
    ]


def test_lines_now_and_then_but_always_the_last(capsys):
    bar = ProgressBar(100, every_s=3600.0)
    for done in range(1, 101):
        bar.update(done, {})
    bar.close()
    assert capsys.readouterr().err.splitlines() == ["iteration 100/100"]


def test_speed_and_time_left_are_of_the_iterations_of_this_start(clock, capsys):
    bar = ProgressBar(2000, every_s=10.0)
    for k in range(31):
        bar.update(1000 + 10 * k, {})
        clock.s += 1.0
    assert capsys.readouterr().err.splitlines() == [
        "iteration 1110/2000, 10 iterations/s, 89 s left",
        "iteration 1220/2000, 10 iterations/s, 78 s left",
    ]
    # Pieces were started again: they go back to their checkpoint.
    bar.update(1200, {})
    for k in range(13):
        clock.s += 1.0
        bar.update(1200 + 5 * k, {})
    assert "iteration 1205/2000, 5 iterations/s" in capsys.readouterr().err


def test_a_wait_before_the_first_iteration_takes_nothing_of_the_speed(clock, capsys):
    bar = ProgressBar(100, every_s=10.0)
    for _ in range(9):
        clock.s += 1.0
        bar.update(0, {})
    for k in range(1, 10):
        clock.s += 1.0
        bar.update(2 * k, {})
    assert "iteration 4/100, 2 iterations/s" in capsys.readouterr().err


def test_a_wait_is_said_less_and_less_often(clock, capsys):
    bar = ProgressBar(100, every_s=10.0)
    bar.update(7, {})
    for _ in range(100):
        clock.s += 1.0
        bar.update(7, {"loss": "0.5"}, f"net1 waits for net2, {clock.s - 100:.0f} s")
    assert capsys.readouterr().err.splitlines() == [
        f"iteration 7/100, net1 waits for net2, {s} s, loss 0.5" for s in (11, 32, 73)
    ]


def test_a_wait_before_anything_is_known(clock, capsys):
    bar = ProgressBar(100, every_s=10.0)
    clock.s += 11.0
    bar.update(None, {}, "net1 waits for net2, 11 s")
    assert capsys.readouterr().err.splitlines() == ["net1 waits for net2, 11 s"]


def test_a_terminal_shows_whom_it_waits_for(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    bar = ProgressBar(300)
    bar.update(200, {"loss": "0.5"})
    bar.update(200, {"loss": "0.5"}, "waits for net2, 6 s")
    bar.update(300, {"loss": "0.25"})
    bar.close()
    text = terminal.getvalue()
    assert "waits for net2, 6 s: " in text and "200/300" in text and "loss=0.5" in text
    assert "300/300" in text.splitlines()[-1] and "waits" not in text.split("\r")[-1]


# Logs.


def test_watcher_waits_for_logs_that_are_not_there_yet(run, bars):
    watcher = LogWatcher(run.pieces("net1"), 20)
    watcher.update()
    assert bars[0].total == 20 and bars[0].shown == [(None, {})]
    watcher.close()
    assert bars[0].is_closed


def test_watcher_shows_the_slowest_piece_and_the_last_ones_facts(run, bars):
    watcher = LogWatcher(run.pieces("net1", "net2", "net3"), 40)
    for name in ("net1", "net2"):
        run.write(name, LOSS.format(0, 9), LOSS.format(10, 8))
    run.write("net3", LOSS.format(0, 2.5), ACCURACY.format(0.25))
    watcher.update()
    assert bars[0].shown[-1] == (0, {"loss": "2.5", "test accuracy": "0.25"})
    run.write("net3", LOSS.format(20, "1.5e-05"))
    watcher.update()
    assert bars[0].shown[-1] == (10, {"loss": "1.5e-05", "test accuracy": "0.25"})


def test_watcher_takes_an_accuracy_of_another_name(run, bars):
    watcher = LogWatcher(run.pieces("net1"), 40)
    for name in ("loss", "top5_acc", "accuracy", "other_acc"):
        run.write("net1", ACCURACY.replace("accuracy", name).format(0.125 * len(name)))
        watcher.update()
    assert [facts.get("test accuracy") for _, facts in bars[0].shown] == [None, "1.0", "1.0", "1.0"]


def test_watcher_reads_half_a_line_when_it_is_whole(run, bars):
    watcher = LogWatcher(run.pieces("net1"), 40)
    line = LOSS.format(30, 2.75)
    for end in (len(line) - 3, len(line)):
        run.write("net1", line[:end], mode="w")
        watcher.update()
    assert [shown[0] for shown in bars[0].shown] == [None, 30]


def test_watcher_takes_the_last_line_for_all_iterations(run, bars):
    watcher = LogWatcher(run.pieces("net1"), 40)
    run.write("net1", LOSS.format(30, 2), DONE)
    watcher.update()
    assert bars[0].shown[-1][0] == 40


def test_what_earlier_starts_have_logged_is_not_how_far_this_one_is(run, bars):
    run.write("net1", LOSS.format(30, 2), DONE)
    run.write("net2", LOSS.format(20, 2), ACCURACY.format(0.5))
    watcher = LogWatcher(run.pieces("net1", "net2"), 40)
    watcher.update()
    assert bars[0].shown[-1] == (None, {"loss": "2", "test accuracy": "0.5"})
    run.write("net2", LOSS.format(10, 3))
    watcher.update()
    # net1 has come to its end, and will say nothing more.
    assert bars[0].shown[-1] == (10, {"loss": "3", "test accuracy": "0.5"})


def test_watcher_says_who_waits_for_whom(run, bars, clock):
    run.say("net1", waits_for="net2", waits_s=99.0)  # of an earlier start
    watcher = LogWatcher(run.pieces("net1", "net2", "net3"), 40)
    for name in ("net1", "net2", "net3"):
        run.write(name, LOSS.format(10, 8))
    watcher.update()
    assert "wait" not in bars[0].shown[-1][1]
    clock.s += 1.0
    run.say("net1", waits_for="net2", waits_s=20.0)
    run.say("net2", waits_for="net3", waits_s=19.5)
    run.say("net3", waits_for="net2", waits_s=0.25)
    watcher.update()
    assert bars[0].shown[-1][1]["wait"] == "net1 waits for net2, net2 for net3, 20 s"
    run.say("net1", waits_for="", waits_s=0.0)
    run.say("net2", waits_for=[], waits_s={})
    watcher.update()  # too early to look again
    assert bars[0].shown[-1][1]["wait"]
    clock.s += 1.0
    watcher.update()
    assert "wait" not in bars[0].shown[-1][1]


def test_watcher_is_not_misled(run, bars):
    watcher = LogWatcher(run.pieces("net1"), 40)
    run.write(
        "net1",
        "I1122 15:47:14.8 9521 net1.py:8] Iteration 30, Testing net (#0)\n"
        "I1122 15:47:14.8 9521 net1.py:8] Iteration 30, lr = 0.01\n"
        "I1122 15:47:14.8 9521 net1.py:8]     Train net output #0: loss = 3 (* 1 = 3 loss)\n"
        "I1122 15:47:14.8 9521 net1.py:8]     Train net output #1: accuracy = 0.9\n",
    )
    watcher.update()
    assert bars[0].shown[-1] == (None, {})


# A session in this process.


def make_session(**facts):
    defaults = {
        "max_iter": 2, "iteration": 0, "on_progress": None, "on_wait": None, "test_outputs": {},
        "status_file": SimpleNamespace(wait=("", 0.0)),
        "lines": SimpleNamespace(loss=facts.pop("loss", 0.123456)),
    }  # fmt: skip
    return SimpleNamespace(**{**defaults, **facts})


def test_session_is_followed_to_its_end(bars):
    session = make_session()
    follow(session)
    session.on_progress(1)
    assert not bars[0].is_closed
    session.test_outputs = {"loss": 1.0, "accuracy": 0.91237}
    session.on_progress(2)
    assert bars[0].shown == [
        (0, {"loss": "0.1235"}),
        (1, {"loss": "0.1235"}),
        (2, {"loss": "0.1235", "test accuracy": "0.9124"}),
    ]
    assert bars[0].is_closed


def test_session_says_whom_it_waits_for(bars):
    session = make_session(iteration=1, loss=float("nan"))
    follow(session)
    for wait in (("", 0.0), ("net2", 1.0), ("net2", 12.0)):
        session.status_file.wait = wait
        session.on_wait()
    assert bars[0].shown == [(1, {}), (1, {"wait": "waits for net2, 12 s"})]


@pytest.mark.parametrize("kind", ["fifo", "folder", "hole", "loop", "absent"])
def test_a_log_that_cannot_be_read_ends_no_training(run, tmp_path, kind):
    path = tmp_path / "net1.log"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to("net1.log")
    elif kind == "hole":
        path.write_bytes(b"")
        os.truncate(path, 1 << 40)
    watcher = LogWatcher(run.pieces("net1"), 20)
    watcher.update()
    watcher.close()
