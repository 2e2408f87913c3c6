"""Progress for people: lines where there is no terminal, and logs followed while they grow."""

from __future__ import annotations

import os

import pytest

from dualnet.training.start.progress import LogWatcher, ProgressBar, follow

LOSS = "I1122 15:47:14.8 9521 net2.py:8] Iteration {} (2.5 iter/s, 4s/10 iters), loss = {}\n"
ACCURACY = "I1122 15:47:14.8 9521 net2.py:8]     Test net output #0: accuracy = {}\n"
DONE = "I1122 15:47:14.8 9521 net2.py:8] Optimization Done.\n"


class Recorder:
    """Stands in for the bar."""

    def __init__(self, total):
        self.total, self.shown, self.is_closed = total, [], False

    def update(self, done, facts):
        self.shown.append((done, dict(facts)))

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


def test_watcher_waits_for_logs_that_are_not_there_yet(tmp_path, bars):
    watcher = LogWatcher({"net1": str(tmp_path / "net1.log")}, 20)
    watcher.update()
    assert bars[0].total == 20 and bars[0].shown == [(0, {})]
    watcher.close()
    assert bars[0].is_closed


def test_watcher_shows_the_slowest_piece_and_the_last_ones_facts(tmp_path, bars):
    logs = {name: tmp_path / f"{name}.log" for name in ("net1", "net2", "net3")}
    watcher = LogWatcher({name: str(path) for name, path in logs.items()}, 40)
    for name in ("net1", "net2"):
        logs[name].write_text(LOSS.format(0, 9) + LOSS.format(10, 8))
    logs["net3"].write_text(LOSS.format(0, 2.5) + ACCURACY.format(0.25))
    watcher.update()
    assert bars[0].shown[-1] == (0, {"loss": "2.5", "accuracy": "0.25"})
    with open(logs["net3"], "a") as file:
        file.write(LOSS.format(20, "1.5e-05"))
    watcher.update()
    assert bars[0].shown[-1] == (10, {"loss": "1.5e-05", "accuracy": "0.25"})


def test_watcher_reads_half_a_line_when_it_is_whole(tmp_path, bars):
    path = tmp_path / "net1.log"
    watcher = LogWatcher({"net1": str(path)}, 40)
    line = LOSS.format(30, 2.75)
    for end in (len(line) - 3, len(line)):
        path.write_text(line[:end])
        watcher.update()
    assert [shown[0] for shown in bars[0].shown] == [0, 30]


def test_watcher_takes_the_last_line_for_all_iterations(tmp_path, bars):
    path = tmp_path / "net1.log"
    path.write_text(LOSS.format(30, 2) + DONE)
    watcher = LogWatcher({"net1": str(path)}, 40)
    watcher.update()
    assert bars[0].shown[-1][0] == 40


def test_watcher_is_not_misled(tmp_path, bars):
    path = tmp_path / "net1.log"
    path.write_text(
        "I1122 15:47:14.8 9521 net1.py:8] Iteration 30, Testing net (#0)\n"
        "I1122 15:47:14.8 9521 net1.py:8] Iteration 30, lr = 0.01\n"
        "I1122 15:47:14.8 9521 net1.py:8]     Train net output #0: loss = 3 (* 1 = 3 loss)\n"
        "I1122 15:47:14.8 9521 net1.py:8]     Train net output #1: accuracy = 0.9\n"
    )
    watcher = LogWatcher({"net1": str(path)}, 40)
    watcher.update()
    assert bars[0].shown[-1] == (0, {})


def test_session_is_followed_to_its_end(bars):
    class Session:
        max_iter, loss, on_progress = 2, 0.123456, None
        test_outputs: dict = {}

    session = Session()
    follow(session)
    session.on_progress(1)
    assert not bars[0].is_closed
    session.test_outputs = {"accuracy": 0.91237}
    session.on_progress(2)
    assert bars[0].shown == [
        (1, {"loss": "0.1235"}),
        (2, {"loss": "0.1235", "accuracy": "0.9124"}),
    ]
    assert bars[0].is_closed


@pytest.mark.parametrize("kind", ["fifo", "folder", "hole", "loop", "absent"])
def test_a_log_that_cannot_be_read_ends_no_training(tmp_path, kind):
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
    watcher = LogWatcher({"net1": str(path)}, 20)
    watcher.update()
    watcher.close()
