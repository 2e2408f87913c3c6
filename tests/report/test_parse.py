"""The reader: logs of BVLC Caffe, logs of ours, and anything that calls itself a log."""

from __future__ import annotations

import math
import os
import re
import string
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualnet.errors import StorageFailed
from dualnet.report.log import CaffeLog
from dualnet.report.parse import parse_log

#: Two runs of BVLC Caffe, captured: 50 iterations, then restored from 40 with an absurd rate.
BVLC_LOG = Path(__file__).parent / "logs" / "bvlc.log"


def test_a_log_of_caffe_with_a_restart():
    log = parse_log(BVLC_LOG)
    assert log.nets == ["digits", "digits"] and log.done
    assert [row.iteration for row in log.train] == [0, 10, 20, 30, 40, 50, 60, 70]
    assert [row.iteration for row in log.tests[0]] == [0, 20, 40, 60]
    assert log.train[1].loss == 2.87337
    assert log.train[1].outputs == {"accuracy": 0.65625, "loss": 1.43669}
    assert [row.learning_rate for row in log.train[:4]] == [0.1, 0.1, 0.1, 0.01]
    # From 40 on the restart counts: its rate, and the loss that it drove to "-nan".
    assert log.train[4].learning_rate == 1e11 and log.train[4].outputs["loss"] == 0.336563
    assert all(math.isnan(row.outputs["loss"]) for row in log.train[5:7])
    assert log.train[7].outputs == {} and math.isnan(log.train[7].loss)
    iterations, accuracy = log.series("accuracy", "test")
    assert iterations.tolist() == [0, 20, 40, 60]
    assert accuracy.tolist() == [0.15, 0.758333, 0.877778, 1]
    first, last = log.train[0].seconds, log.train[-1].seconds
    assert first == pytest.approx(14.840839 - 14.839432)
    assert last == pytest.approx(9 * 60 + 55.297435 - 14.839432)


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_old_and_new_loss_lines(tmp_path):
    text = """I0210 13:39:22.381027 25210 solver.cpp:204] Iteration 100, loss = 1.5
    Train net output #0: loss = 1.4 (* 1 = 1.4 loss)
I0210 13:39:23.381027 25210 solver.cpp:204] Iteration 200 (2.5 iter/s, 4e-05s/100 iters), loss = 1
I20240210 13:39:24.381027 25210 solver.cpp:204] Iteration 300 (-nan iter/s, 4s/9 iter), loss = inf
"""
    log = parse_log(_write(tmp_path / "log", text))
    assert [(row.iteration, row.loss) for row in log.train] == [
        (100, 1.5),
        (200, 1),
        (300, math.inf),
    ]
    assert log.train[0].outputs == {"loss": 1.4}


def test_loss_falls_back_on_the_iteration_lines(tmp_path):
    log = parse_log(_write(tmp_path / "log", "Iteration 1, loss = 3\nIteration 2, loss = 2\n"))
    assert [list(part) for part in log.series("loss")] == [[1, 2], [3, 2]]
    assert log.series("norm")[0].size == 0


def test_rates_belong_to_their_iteration(tmp_path):
    text = "".join(
        f"Iteration {k}, loss = 1\n" + (f"Iteration {k}, lr = {rate}\n" if rate else "")
        for k, rate in [(0, ""), (1, 0.5), (2, ""), (3, 1e-05)]
    )
    log = parse_log(_write(tmp_path / "log", text))
    assert [row.learning_rate for row in log.train] == [0.5, 0.5, 0.5, 1e-05]
    assert math.isnan(
        parse_log(_write(tmp_path / "l", "Iteration 1, loss = 3")).train[0].learning_rate
    )


def test_several_test_nets_and_values(tmp_path):
    with CaffeLog(tmp_path / "log") as out:
        out.testing(3, {"accuracy": np.array([0.5, 0.75]), "loss": 1.0})
        out.testing(3, {"accuracy": 0.25}, net=1)
    log = parse_log(tmp_path / "log")
    assert log.tests[0][0].outputs == {"accuracy": 0.5, "accuracy[1]": 0.75, "loss": 1.0}
    assert log.tests[1][0].outputs == {"accuracy": 0.25}
    assert log.names("test") == ["accuracy", "accuracy[1]", "loss"]
    assert log.names("test", 1) == ["accuracy"] and log.names("test", 2) == []


def test_a_restart_replaces_what_it_repeats_and_drops_what_it_did_not_reach(tmp_path):
    for start, count, value in [(0, 10, 1.0), (5, 3, 2.0)]:
        with CaffeLog(tmp_path / "log") as out:
            out.solving("net")
            for k in range(start, start + count):
                out.training(k, value, {"loss": value}, 0.1 * value)
                out.testing(k, {"loss": value})
    log = parse_log(tmp_path / "log")
    assert [(row.iteration, row.outputs["loss"]) for row in log.train] == [
        *((k, 1) for k in range(5)), *((k, 2) for k in range(5, 8)),
    ]  # fmt: skip
    assert [row.iteration for row in log.tests[0]] == list(range(8))
    assert [row.learning_rate for row in log.train[4:6]] == [0.1, 0.2]
    assert not log.done


def test_two_logs_mixed_in_one_file_lose_nothing(tmp_path):
    # Without a sign of a restart an iteration that goes back is another process's line.
    order = [0, 2, 1, 3, 5, 4]
    text = "".join(f"Iteration {k}, loss = {k}\n" for k in order)
    log = parse_log(_write(tmp_path / "log", text))
    assert [row.iteration for row in log.train] == [0, 1, 2, 3, 4, 5]


def _prefixed(stamp: str, message: str) -> str:
    return f"I{stamp} 9521 solver.cpp:1] {message}\n"


def test_seconds_cross_the_turn_of_the_year(tmp_path):
    text = (
        _prefixed("1231 23:59:50.000000", "Solving net")
        + _prefixed("0101 00:00:10.500000", "Iteration 1, loss = 1")
        + _prefixed("0228 00:00:00.000000", "Iteration 2, loss = 1")
    )
    path = _write(tmp_path / "log", text)
    modified = datetime(2023, 1, 1).timestamp()
    os.utime(path, (modified, modified))
    rows = parse_log(path).train
    assert rows[0].seconds == 20.5
    assert rows[1].seconds == (datetime(2023, 2, 28) - datetime(2022, 12, 31)).days * 86400 - 86390


def test_a_clock_that_steps_back_does_not_cost_a_year(tmp_path):
    text = (
        _prefixed("0301 00:00:05.000000", "Solving net")
        + _prefixed("0228 23:59:59.000000", "Iteration 1, loss = 1")
        + _prefixed("0229 23:59:59.000000", "Iteration 2, loss = 1")
    )
    path = _write(tmp_path / "log", text)
    modified = datetime(2023, 6, 1).timestamp()
    os.utime(path, (modified, modified))
    rows = parse_log(path).train
    assert rows[0].seconds == -6
    assert rows[1].seconds == 86394  # no such day in 2023: taken as March 1


@settings(max_examples=50, deadline=None)
@given(
    rows=st.dictionaries(
        st.integers(0, 10**9),
        st.tuples(
            st.dictionaries(
                st.text(string.ascii_letters + string.digits + "_/-.:", min_size=1, max_size=12),
                st.floats(width=32),
                max_size=4,
            ),
            st.floats(width=32),
            st.floats(0, 10, width=32),
        ),
        max_size=8,
    ),
    tested=st.booleans(),
)
def test_what_is_written_is_read(rows, tested, tmp_path_factory):
    path = tmp_path_factory.mktemp("round_trip") / "net.log"
    with CaffeLog(path) as out:
        out.solving("net")
        for iteration in sorted(rows):
            outputs, loss, rate = rows[iteration]
            out.training(iteration, loss, outputs, rate, dict.fromkeys(outputs, 0.5))
            if tested:
                out.testing(iteration, outputs)
        out.done(max(rows, default=0))
    log = parse_log(path)
    assert log.nets == ["net"] and log.done
    assert [row.iteration for row in log.train] == sorted(rows)
    for row in log.train:
        outputs, loss, rate = rows[row.iteration]
        assert row.learning_rate == float(f"{rate:g}")
        _same({"": loss}, {"": row.loss})
        _same(outputs, row.outputs)
    if tested:
        for row in log.rows("test"):
            _same(rows[row.iteration][0], row.outputs)


def _same(written: dict[str, float], read: dict[str, float]) -> None:
    assert list(written) == list(read)
    for name, value in written.items():
        if math.isnan(value):
            assert math.isnan(read[name])
        else:
            assert read[name] == float(f"{value:g}")


_WORDS = [
    "Iteration ", "Iteration 10, loss = ", "Iteration 5, lr = ", ", Testing net (#", "Solving ",
    "    Train net output #0: a = ", "    Test net output #1: b = ", "1", "-nan", "1e", "1e99999",
    "9" * 5000, "I1122 15:47:14.839432  9521 a.cpp:1] ", "I99991231 23:59:60.9 1 a:1] ",
    "I0229 00:00:00 1 a:1] ", "I0101 00:00:00 1 a:1] ", "I1231 00:00:00 1 a:1] ", "\n", "(", ")",
    "Restoring previous solver status from x", "Optimization Done.", "\0", "\r", "\u0663", " = ",
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    parts=st.lists(st.one_of(st.sampled_from(_WORDS), st.text(max_size=5)), max_size=40),
    tail=st.binary(max_size=20),
)
def test_garbage_never_stops_it(parts, tail, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "garbage.log"
    path.write_bytes("".join(parts).encode("utf-8", "surrogatepass") + tail)
    log = parse_log(path)
    for row in log.train + [row for rows in log.tests.values() for row in rows]:
        assert row.iteration >= 0 and isinstance(row.seconds, float)


@settings(max_examples=50, deadline=None)
@given(cut=st.integers(0, 20000), byte=st.integers(0, 255))
def test_damaged_logs_lose_only_the_damage(cut, byte, tmp_path_factory):
    content = bytearray(BVLC_LOG.read_bytes())
    content[cut % len(content)] = byte
    path = tmp_path_factory.getbasetemp() / "damaged.log"
    path.write_bytes(content)
    whole, damaged = parse_log(BVLC_LOG), parse_log(path)
    kept = {row.iteration for row in damaged.train} & {row.iteration for row in whole.train}
    assert len(kept) >= len(whole.train) - 2


def test_a_line_without_end_does_not_fill_the_memory(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"x" * 2_000_000 + b"\nIteration 1, loss = 2\n")
    assert parse_log(path).train[0].loss == 2


def test_a_missing_log_is_named(tmp_path):
    with pytest.raises(StorageFailed, match=r"cannot read the log .*absent.* \(No such file"):
        parse_log(tmp_path / "absent")


# What Caffe's own scripts need: first a line with "Solving" that has the prefix,
# then a time on every line, and outputs that this pattern finds.
_CLASSIC_TIME = re.compile(r"^[IWE](\d\d)(\d\d) (\d\d):(\d\d):(\d\d)\.(\d{6}) +\d+ \S+:\d+\] ")
_CLASSIC_OUTPUT = re.compile(r"(Train|Test) net output #(\d+): (\S+) = ([\.\deE+-]+)")


def test_the_classic_scripts_would_read_ours_as_we_do(tmp_path):
    path = tmp_path / "net.log"
    with CaffeLog(path) as out:
        out.info("free text before")
        out.solving("net")
        for k in range(5):
            out.testing(k, {"accuracy": k / 7, "loss": 1 / (k + 1)}, {"loss": 1})
            out.training(k, 1 / (k + 1), {"loss": 1e-7 * k}, 0.1**k, {"loss": 1})
            out.warning("something\nelse")
    found: dict[str, list[tuple[int, str, float]]] = {"Train": [], "Test": []}
    iteration = -1
    lines = path.read_text().splitlines()
    assert _CLASSIC_TIME.match(next(line for line in lines if "Solving" in line))
    for line in lines:
        assert _CLASSIC_TIME.match(line)
        match = re.search(r"Iteration (\d+)", line)
        iteration = int(match.group(1)) if match else iteration
        match = _CLASSIC_OUTPUT.search(line)
        if match:
            found[match.group(1)].append((iteration, match.group(3), float(match.group(4))))
    log = parse_log(path)
    for phase, rows in (("Train", log.train), ("Test", log.tests[0])):
        ours = [(row.iteration, name, v) for row in rows for name, v in row.outputs.items()]
        assert ours == found[phase]
