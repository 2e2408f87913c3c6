"""Listed runs as text."""

from __future__ import annotations

import pytest

from dualnet.report.compare.listing import Listed
from dualnet.report.compare.text import duration, to_table, to_text
from dualnet.report.lives import Life

FACTS = {
    "dualnet": "0.1.0", "commit": "0123456789abcdef0123-dirty", "python": "3.11.2",
    "provider": "engine", "provider_version": "1.0.0", "libraries": {"numpy": "2.4.6"},
    "command": ["dualnet", "net1", "c.yaml"], "launched_by": ["dualnet", "train", "c.yaml"],
    "device": 0, "gpu": "NVIDIA H100", "threads": None,
    "seed": {"used": 1, "solver_random_seed": 5},
    "data": [{"path": "d/train", "for": "x source", "holds": "9 records"}],
}  # fmt: skip
CPU = {**FACTS, "device": "cpu", "gpu": "", "threads": 2, "data": [], "launched_by": []}
LIVES = {
    "net1": [Life(1, "2026-11-28T02:17:32+00:00", "killed", wall_s=61.0, facts=FACTS),
             Life(2, "2026-11-28T03:17:32+00:00", "done", wall_s=3.0, exit_code=0,
                  first_iteration=20, last_iteration=40, facts=FACTS,
                  process={"host": "node1"})],
    "net2": [Life(1, "2026-11-28T02:17:30+00:00", "failed", wall_s=3700.0, exit_code=72,
                  last_iteration=40, facts=CPU, process={"host": "node2"})],
}  # fmt: skip
ONE = Listed("runs/a", 2, "net2 failed", 40, 60, 0.25, 0.5, 0.75, 30, time_s=64.0,
             iterations_per_s=12.345, samples_per_s=790.08, lives=LIVES,
             settings={"seed": "1", "coupling.target": "prox"})  # fmt: skip
OTHER = Listed("runs/longer", 2, "complete", 60, 60, float("nan"), 1.0, 1.0, 30,
               settings={"seed": "1", "coupling.target": "gradient"})  # fmt: skip


def test_a_table_has_the_settings_that_differ():
    assert to_table([ONE, OTHER]) == (
        "run          target    state        iteration  loss  accuracy    best        time"
        "  it/s  samples/s\n"
        "runs/a       prox      net2 failed      40/60  0.25    0.5000  0.7500  1 min 04 s"
        "  12.3        790\n"
        "runs/longer  gradient  complete         60/60   nan\n"
    )


def test_rates_are_plain_numbers():
    fast = Listed("a", 1, "done", iterations_per_s=0.01234, samples_per_s=123456.7)
    assert to_table([fast]).splitlines()[1].split() == ["a", "done", "0.0123", "123457"]


def test_columns_that_are_empty_are_left_out():
    assert to_table([OTHER]) == (
        "run          state     iteration  loss\nruns/longer  complete      60/60   nan\n"
    )


def test_settings_without_room_have_lines_of_their_own():
    settings = {f"section.key{number}": "x" * 20 for number in range(5)}
    first = Listed("a", 1, "done", 1, settings=settings)
    second = Listed("b", 1, "done", 2, settings=dict.fromkeys(settings, ""))
    table = to_table([first, second], width=60)
    lines = table.splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[0].split() == ["run", "state", "iteration"]
    assert [line[:1] for line in lines] == ["r", "a", " ", " ", " ", "b"]
    assert lines[2] == f"    key0={'x' * 20}  key1={'x' * 20}"
    assert to_table([first, second], width=500) == to_table([first, second])


def test_one_run_at_length():
    assert to_text(ONE).splitlines() == [
        "runs/a",
        "  state      net2 failed",
        "  reached    iteration 40/60, loss 0.25, accuracy 0.5000, best 0.7500 at iteration 30",
        "  time       1 min 04 s, 12.3 iterations/s, 790 samples/s",
        "  net1  life 1  2026-11-28 02:17:32 UTC  1 min 01 s  0 to ?    killed       "
        "GPU 0 (NVIDIA H100)",
        "  net1  life 2  2026-11-28 03:17:32 UTC  3.0 s       20 to 40  done         node1, "
        "GPU 0 (NVIDIA H100)",
        "  net2  life 1  2026-11-28 02:17:30 UTC  1 h 02 min  0 to 40   failed (72)  node2, "
        "cpu, threads: 2",
        "  made with  dualnet 0.1.0 (0123456789ab-dirty), Python 3.11.2, engine Caffe 1.0.0, "
        "numpy 2.4.6",
        "  command    dualnet train c.yaml",
        "  command    dualnet net1 c.yaml",
        "  seed       1, the config's (the solver's random_seed, 5, has no effect)",
        "  data       d/train: 9 records",
        "  settings   seed=1  coupling.target=prox",
    ]


def test_a_run_without_a_record():
    assert to_text(OTHER).splitlines() == [
        "runs/longer",
        "  state      complete",
        "  reached    iteration 60/60, loss nan",
        "  settings   seed=1  coupling.target=gradient",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"), (9.94, "9.9 s"), (12.4, "12 s"), (59.6, "1 min 00 s"),
        (200, "3 min 20 s"), (3599.9, "1 h 00 min"), (7500, "2 h 05 min"), (272_000, "3 d 4 h"),
    ],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text
