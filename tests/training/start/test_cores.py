"""Cores and threads of a piece: what is parsed, refused, set and shared."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import pytest

from dualnet.config import from_dict, load
from dualnet.config.cores import parse_cores
from dualnet.errors import ConfigError
from dualnet.training.start.cores import share


@pytest.mark.parametrize(
    ("text", "expected"), [("0", {0}), ("0-3,8", {0, 1, 2, 3, 8}), (" 1 , 3-3", {1, 3})]
)
def test_lists_of_cores(text, expected):
    assert parse_cores(text) == expected


@pytest.mark.parametrize("text", ["a", "1-", "-1", "3-1", "1;2", "1,,2"])
def test_other_lists_are_refused_with_the_key(text):
    with pytest.raises(ConfigError, match="net1.cores: "):
        from_dict({"net1": {"cores": text}})


@pytest.fixture
def five_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 4, 6, 8})


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})


def chain(count, schedule, **piece):
    """A config of so many pieces; `piece` is the last one's section."""
    config = from_dict({"pieces": [{}] * (count - 1) + [piece], "cuts": [{}] * (count - 1)})
    # Not every schedule is one that the config takes as yet.
    return dataclasses.replace(config, train=dataclasses.replace(config.train, schedule=schedule))


AT_ONCE = pytest.mark.parametrize("schedule", ["overlapped", "pipelined"])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_pieces_that_take_turns_all_use_all_cores(two_cores, count):
    assert share(chain(count, "alternating")) == []


@AT_ONCE
def test_pieces_at_work_together_share_the_cores(five_cores, schedule):
    assert share(chain(1, schedule)) == []
    assert share(chain(2, schedule)) == ["net2.cores='0,2'", "net1.cores='4,6,8'"]
    assert share(chain(3, schedule)) == ["net3.cores='0'", "net2.cores='2,4'", "net1.cores='6,8'"]
    assert share(chain(5, schedule)) == [f"net{5 - i}.cores='{2 * i}'" for i in range(5)]


@AT_ONCE
@pytest.mark.parametrize("section", [{"cores": "0"}, {"threads": 1}])
@pytest.mark.parametrize("count", [2, 3])
def test_what_the_config_says_goes_before(five_cores, schedule, section, count):
    assert share(chain(count, schedule, **section)) == []


@AT_ONCE
def test_more_pieces_than_cores_have_a_thread_each_and_share_them(two_cores, schedule):
    assert share(chain(4, schedule)) == [f"net{number}.threads=1" for number in range(1, 5)]


def test_what_is_shared_is_an_override_that_the_config_takes(five_cores, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("pieces: [{}, {}, {}]\ncuts: [{}, {}]\n")
    config = load(str(path), share(chain(3, "overlapped")))
    assert [piece.cores for piece in config.pieces] == ["6,8", "2,4", "0"]


PIN = """
import os
from dualnet.training.start.cores import pin
from dualnet.config import Piece
core = min(os.sched_getaffinity(0))
pin(Piece(cores=str(core)))
print(os.sched_getaffinity(0) == {core}, os.environ["OMP_NUM_THREADS"])
pin(Piece(threads=3))
print(os.environ["OPENBLAS_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"])
pin(Piece(cores="4095"))
"""


def test_pin_binds_the_process_and_names_cores_that_it_may_not_use(repository):
    done = subprocess.run(
        [sys.executable, "-c", PIN], capture_output=True, text=True, cwd=str(repository),
        env={k: v for k, v in os.environ.items() if not k.startswith("OMP_")},
    )  # fmt: skip
    assert done.stdout.splitlines() == ["True 1", "3 PASSIVE"]
    assert "cores: 4095: this process may not use core 4095, only " in done.stderr
