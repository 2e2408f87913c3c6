"""Quotas of processor time: what is written where, and whether the kernel keeps to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dualnet.bench import quota
from dualnet.bench.quota import quotas
from dualnet.errors import UsageError


def _may() -> bool:
    try:
        with quotas() as groups:
            groups.add("try", 0.5)
    except UsageError:
        return False
    return True


needs_quotas = pytest.mark.skipif(not _may(), reason="needs control groups, and root")

BUSY = """
import os, sys, time
with open(sys.argv[1], "w") as file:
    file.write(str(os.getpid()))
began_s, began_cpu_s = time.monotonic(), time.process_time()
while time.monotonic() - began_s < 0.4:
    pass
print((time.process_time() - began_cpu_s) / (time.monotonic() - began_s))
"""


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """A folder made by hand keeps its files: it is never removed, and not waited for."""
    monkeypatch.setattr(quota, "_REMOVE_S", 0.0)


@needs_quotas
def test_a_group_gets_no_more_than_its_quota(monkeypatch):
    monkeypatch.setattr(quota, "_REMOVE_S", 5.0)
    with quotas() as groups:
        command = [sys.executable, "-S", "-E", "-c", BUSY, groups.add("piece", 0.2)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    # Without a quota the share is 1, or on a machine where two others run on each core a third.
    assert float(done.stdout) < 0.3
    assert not os.path.exists(groups.folder)


def test_the_first_interface(tmp_path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.shares").write_text("1024")
    with quotas(str(tmp_path)) as groups:
        folder = Path(groups.add("a", 0.4)).parent
        assert (folder / "cpu.cfs_period_us").read_text() == "20000"
        assert (folder / "cpu.cfs_quota_us").read_text() == "8000"
        assert groups.how == "cgroup v1 cpu.cfs_quota_us, period 20 ms"


@pytest.mark.parametrize("under", ["", "unified"])
def test_the_second_interface(tmp_path, under):
    root = tmp_path / under
    root.mkdir(exist_ok=True)
    (root / "cgroup.controllers").write_text("cpuset cpu io\n")
    with quotas(str(tmp_path)) as groups:
        folder = Path(groups.add("a", 1.5)).parent
        assert (folder / "cpu.max").read_text() == "30000 20000"
        assert groups.how == "cgroup v2 cpu.max, period 20 ms"
    assert (root / "cgroup.subtree_control").read_text() == "+cpu"


def test_no_controller_is_one_line(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("hugetlb\n")
    with (
        pytest.raises(UsageError, match="no quotas here: .* has no controller cpu"),
        quotas(str(tmp_path)),
    ):
        pass


def test_a_controller_that_is_not_handed_on_is_one_line(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("cpu\n")
    (tmp_path / "cgroup.subtree_control").mkdir()  # cannot be written
    with pytest.raises(UsageError, match="subtree_control: Is a directory"), quotas(str(tmp_path)):
        pass
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith("dualnet-bench")]
