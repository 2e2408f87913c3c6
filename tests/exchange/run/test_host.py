"""Processes and the proof that they are gone."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from dualnet.exchange.run.host import ProcessId

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")
US = ProcessId.current()


def test_we_live() -> None:
    assert US.alive(US) is True
    assert US.boot_id and US.pid_ns and US.start


def test_a_reused_number_is_another_process() -> None:
    assert replace(US, start=str(int(US.start) - 1)).alive(US) is False


def test_nothing_is_known_of_other_machines_and_containers() -> None:
    assert replace(US, boot_id="other").alive(US) is None
    assert replace(US, pid_ns="pid:[1]").alive(US) is None
    assert replace(US, boot_id="").alive(replace(US, boot_id="")) is None


def test_zombies_and_reaped_processes_are_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        with open(f"/proc/{child.pid}/stat") as file:
            start = file.read().rpartition(")")[2].split()[19]
        them = replace(US, pid=child.pid, start=start)
        assert them.alive(US) is True
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, not reaped
        assert them.alive(US) is False
    assert them.alive(US) is False


def test_fields_round_trip() -> None:
    assert ProcessId.from_fields(US.fields()) == US
    assert ProcessId.from_fields({"extra": 1, **US.fields()}) == US


@pytest.mark.parametrize("change", [{"pid": "1"}, {"pid": True}, {"host": 3}, {"start": None}])
def test_other_fields_are_no_process(change: dict) -> None:
    assert ProcessId.from_fields({**US.fields(), **change}) is None
    assert ProcessId.from_fields({}) is None
