"""Cores and threads of a half: what is parsed, refused, set and shared."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dualnet.cli.cores import share
from dualnet.config import from_dict
from dualnet.config.cores import parse_cores
from dualnet.errors import ConfigError


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
def four_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 4, 6, 8})


def test_halves_that_take_turns_both_use_all_cores(four_cores):
    assert share(from_dict({})) == []


def test_halves_at_work_together_share_the_cores(four_cores):
    config = from_dict({"train": {"schedule": "overlapped"}})
    assert share(config) == ["net2.cores='0,2'", "net1.cores='4,6,8'"]


@pytest.mark.parametrize("section", [{"cores": "0"}, {"threads": 1}])
def test_what_the_config_says_goes_before(four_cores, section):
    assert share(from_dict({"train": {"schedule": "overlapped"}, "net2": section})) == []


def test_one_core_is_not_shared(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    assert share(from_dict({"train": {"schedule": "overlapped"}})) == []


PIN = """
import os
from dualnet.cli.cores import pin
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
