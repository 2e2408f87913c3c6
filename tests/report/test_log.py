"""The writer: line by line what Caffe writes, and readable by Caffe's own tools."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from dualnet.errors import StorageFailed
from dualnet.report.log import CaffeLog

PREFIX = re.compile(r"^([IWE])\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ test_log\.py:\d+\] (.*)$")


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.25

    def __call__(self) -> float:
        return self.now_s


def _messages(path: Path) -> list[str]:
    matches = [PREFIX.match(line) for line in path.read_text().splitlines()]
    assert all(matches)
    return [match.group(2) for match in matches if match]


def test_a_training_run_line_by_line(tmp_path):
    # Expected: what BVLC Caffe wrote for the same values (logs/bvlc.log), but for the times.
    clock = Clock()
    with CaffeLog(tmp_path / "runs" / "net.log", display=10, clock=clock) as log:
        log.solving("digits")
        weights = {"loss": 2.0}
        log.testing(0, {"accuracy": 0.15, "loss": 2.25996}, weights)
        clock.now_s += 0.5
        log.training(0, 4.54188, {"accuracy": 0.125, "loss": 2.27094}, 0.1, weights)
        clock.now_s += 4
        log.training(10, 2.87337, {"accuracy": 0.65625, "loss": 1.436686}, 0.01, weights)
        log.snapshot("snap_iter_20.caffemodel", "snap_iter_20.solverstate")
        log.done(20, 0.347897)
    assert _messages(tmp_path / "runs" / "net.log") == [
        "Solving digits",
        "Iteration 0, Testing net (#0)",
        "    Test net output #0: accuracy = 0.15",
        "    Test net output #1: loss = 2.25996 (* 2 = 4.51992 loss)",
        "Iteration 0 (0 iter/s, 0.5s/10 iters), loss = 4.54188",
        "    Train net output #0: accuracy = 0.125",
        "    Train net output #1: loss = 2.27094 (* 2 = 4.54188 loss)",
        "Iteration 0, lr = 0.1",
        "Iteration 10 (2.5 iter/s, 4s/10 iters), loss = 2.87337",
        "    Train net output #0: accuracy = 0.65625",
        "    Train net output #1: loss = 1.43669 (* 2 = 2.87337 loss)",
        "Iteration 10, lr = 0.01",
        "Snapshotting to binary proto file snap_iter_20.caffemodel",
        "Snapshotting solver state to binary proto file snap_iter_20.solverstate",
        "Iteration 20, loss = 0.347897",
        "Optimization Done.",
    ]


def test_numbers_look_as_in_cpp(tmp_path):
    # Expected: std::cout << float, as printed by g++.
    printed = {
        0.1: "0.1", 1 / 3: "0.333333", 1e-5: "1e-05", 123456789.0: "1.23457e+08", 100.0: "100",
        1e6: "1e+06", 123456.0: "123456", float("nan"): "nan", float("-inf"): "-inf", 0.0: "0",
    }  # fmt: skip
    with CaffeLog(tmp_path / "log") as log:
        for value in printed:
            log.training(0, 0, {"x": np.float32(value)})
    values = re.findall(r"x = (\S+)", (tmp_path / "log").read_text())
    assert values == list(printed.values())


def test_outputs_of_several_values_are_numbered_through(tmp_path):
    with CaffeLog(tmp_path / "log") as log:
        log.testing(5, {"class": np.array([[0.5], [0.25]]), "loss": 1.0}, {"loss": 1}, net=1)
    assert _messages(tmp_path / "log") == [
        "Iteration 5, Testing net (#1)",
        "    Test net output #0: class = 0.5",
        "    Test net output #1: class = 0.25",
        "    Test net output #2: loss = 1 (* 1 = 1 loss)",
    ]


def test_weighted_losses_are_multiplied_in_float32_and_may_overflow(tmp_path):
    with CaffeLog(tmp_path / "log") as log:
        log.training(0, 0, {"loss": np.float32(3e38)}, loss_weights={"loss": 10})
        log.training(1, 0, {"loss": np.inf}, loss_weights={"loss": 10})
    text = (tmp_path / "log").read_text()
    assert "loss = 3e+38 (* 10 = inf loss)" in text
    assert "loss = inf (* 10 = inf loss)" in text


def test_the_first_solving_line_carries_the_prefix_and_no_line_is_blank(tmp_path):
    # What Caffe's parse_log.py and extract_seconds.py stumble over.
    with CaffeLog(tmp_path / "log") as log:
        log.solving("two\nlines")
        log.info("a\n\nb\r\n")
        log.info("")
        log.training(0, 1.0, {"a name": 1.0, "": 2.0})
    text = (tmp_path / "log").read_text()
    assert "] Solving two lines\n" in text
    assert all(PREFIX.match(line) for line in text.splitlines())
    assert re.findall(r"Train net output #\d+: (\S+) = ", text) == ["a_name", "_"]


def test_levels_and_echo(tmp_path):
    echo = io.StringIO()
    with CaffeLog(tmp_path / "log", echo=echo) as log:
        log.info("i")
        log.warning("w")
        log.error("e")
    levels = [PREFIX.match(line).group(1) for line in (tmp_path / "log").read_text().splitlines()]
    assert levels == ["I", "W", "E"]
    assert echo.getvalue() == "i\nw\ne\n"


def test_a_line_is_in_the_file_when_the_call_returns(tmp_path):
    log = CaffeLog(tmp_path / "log")
    for k in range(3):
        log.info(f"line {k}")
        assert len(_messages(tmp_path / "log")) == k + 1
    log.close()
    with pytest.raises(StorageFailed, match="cannot write the log .*closed file"):
        log.info("late")


def test_a_restart_continues_the_file_after_a_broken_line(tmp_path):
    path = tmp_path / "log"
    with CaffeLog(path) as log:
        log.info("first")
    with open(path, "a") as file:
        file.write("I1122 15:47:14.839432  9521 net.py:8] Iteration 10, lo")
    with CaffeLog(path) as log:
        log.info("second")
    with CaffeLog(path) as log:
        log.info("third")
    lines = path.read_text().splitlines()
    assert [line.split("] ")[1] for line in lines] == [
        "first",
        "Iteration 10, lo",
        "second",
        "third",
    ]


def test_speed_starts_anew_with_each_solving(tmp_path):
    clock = Clock()
    with CaffeLog(tmp_path / "log", display=5, clock=clock) as log:
        log.solving("a")
        log.training(100, 1, {})
        clock.now_s += 10
        log.solving("a")
        clock.now_s += 2
        log.training(50, 1, {})
    assert _messages(tmp_path / "log")[1::2] == [
        "Iteration 100 (0 iter/s, 0s/5 iters), loss = 1",
        "Iteration 50 (0 iter/s, 2s/5 iters), loss = 1",
    ]


def test_threads_do_not_mix_their_lines(tmp_path):
    with CaffeLog(tmp_path / "log") as log:
        threads = [
            threading.Thread(target=lambda k=k: [log.info(f"{k}" * 500) for _ in range(50)])
            for k in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    messages = _messages(tmp_path / "log")
    assert len(messages) == 200
    assert all(len(message) == 500 and len(set(message)) == 1 for message in messages)


def test_what_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="cannot write the log .*file/log "):
        CaffeLog(tmp_path / "file" / "log")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is Linux's")
def test_a_full_disk_is_told(tmp_path):
    log = CaffeLog(tmp_path / "net1.log")
    with open("/dev/full", "ab") as full:
        os.dup2(full.fileno(), log._file.fileno())
    with log, pytest.raises(StorageFailed, match="No space left on device.: free some space"):
        log.info("x")


def test_a_log_that_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "net1.log")
    with pytest.raises(StorageFailed, match="net1.log .not a regular file"):
        CaffeLog(tmp_path / "net1.log")


def test_the_log_needs_no_caffe():
    # A node that only draws or watches has neither provider.
    code = (
        "import sys; import dualnet.report.log, dualnet.report.parse, dualnet.report.table\n"
        "print(sorted({'torch', 'caffe', 'matplotlib', 'google'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    if "ld-" in Path("/proc/self/exe").resolve().name:
        pytest.skip("this interpreter cannot be started again by its own name")
    out = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment, check=True, text=True
    )
    assert out.stdout == "[]\n"
