"""The record of a piece's lives: written whole, read whatever became of it."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace

import pytest

from dualnet.exchange.run.host import ProcessId
from dualnet.report.lives import Life, as_seen_now, read_lives, time_text, without_end, write_lives
from dualnet.rundir import RunDir


@pytest.fixture
def piece(tmp_path):
    return RunDir(str(tmp_path)).piece("net1")


def life(process=None, began_s=None, **fields):
    process = process or ProcessId.current()
    began = time_text(time.time() - 100 if began_s is None else began_s)
    return Life(1, began, process=process.fields(), **fields)


def gone():
    """A process of this machine that has ended."""
    return replace(ProcessId.current(), start="1")


def elsewhere():
    """A process of a machine that cannot be asked."""
    return replace(ProcessId.current(), boot_id="another")


def test_lives_are_read_as_they_were_written(piece):
    assert read_lives(piece) == []
    one = life(state="stopped", ended=time_text(time.time()), wall_s=1.5, exit_code=0,
               error="stopped by SIGTERM", first_iteration=3, last_iteration=8,
               facts={"seed": {"used": 1}})  # fmt: skip
    lives = [one, replace(life(), number=2)]
    write_lives(piece, lives)
    assert read_lives(piece) == lives
    with open(piece.lives) as file:
        assert json.load(file)["piece"] == "net1"
    assert os.listdir(piece.run.path) == ["net1.run.json"]


def test_what_a_later_version_adds_is_passed_over(piece):
    write_lives(piece, [life()])
    with open(piece.lives) as file:
        found = json.load(file)
    found["lives"][0]["mood"] = "good"
    with open(piece.lives, "w") as file:
        json.dump(found, file)
    assert len(read_lives(piece)) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff", b"[]", b"{}", b"[" * 100_000, b'{"version": 2, "lives": []}',
        b'{"version": 1, "lives": [{}]}', b'{"version": 1, "lives": 3}',
        b'{"version": 1, "lives": [{"number": 1, "began": "today"}]}',
        b'{"version": 1, "lives": [{"number": 1, "began": 5}]}',
        b'{"version": 1, "lives": [{"number": "1", "began": "2026-11-28T02:17:32+00:00"}]}',
    ],
)  # fmt: skip
def test_a_damaged_record_is_a_value_error(piece, content):
    with open(piece.lives, "wb") as file:
        file.write(content)
    with pytest.raises(ValueError):
        read_lives(piece)


def test_what_is_no_file_is_damage_too(piece):
    os.mkdir(piece.lives)
    with pytest.raises(ValueError):
        read_lives(piece)
    os.rmdir(piece.lives)
    os.symlink("/dev/zero", piece.lives)
    with pytest.raises(ValueError):
        read_lives(piece)


def test_a_life_without_an_end_is_running_killed_or_silent(piece):
    now_s = time.time()

    def seen(one, sign_s=None):
        with open(piece.status, "w"):
            pass
        if sign_s is None:
            os.unlink(piece.status)
        else:
            os.utime(piece.status, (sign_s, sign_s))
        found = as_seen_now(one, piece)
        return found.state, found.wall_s

    state, wall_s = seen(life())
    assert state == "running" and 99 < wall_s < 110
    assert seen(life(gone())) == ("killed", None)
    state, wall_s = seen(life(gone()), now_s - 40)
    assert state == "killed" and 59 < wall_s < 62
    assert seen(life(gone()), now_s - 200) == ("killed", None)  # an earlier life's
    assert seen(life(elsewhere()), now_s)[0] == "running"
    assert seen(life(elsewhere()), now_s - 70)[0] == "silent"
    assert seen(life(elsewhere())) == ("silent", None)
    assert seen(replace(life(), process={}))[0] == "silent"
    done = life(gone(), state="done", wall_s=3.0)
    assert as_seen_now(done, piece) == done
    assert without_end(life(), piece).state == "killed"
