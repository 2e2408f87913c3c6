"""Faults from outside, with no hook in the program: strace, and a file system that is full."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from dualnet.exchange.disk import storage
from dualnet.report.status import status
from dualnet.rundir import RunDir
from scripts.fault_campaign.calls import SMALL
from scripts.fault_campaign.lab import Lab
from scripts.fault_campaign.ledger import Ledger

__all__ = ["run_full", "run_strace"]

#: System calls that publish, and those that Caffe's own snapshots make.
_CALLS = ("rename", "link", "unlink", "fsync", "pwrite64", "mkdir", "flock")
_TMPFS_BYTES, _TMPFS_INODES = 16 << 20, 600


def run_strace(lab: Lab, ledger: Ledger, seed: int, count: int) -> None:
    """SIGKILL before the nth system call of a kind, of any thread, injected by strace.

    Args:
        lab, ledger: where, and where rows go.
        seed: unused: nothing is drawn.
        count: of each kind and piece at most so many, ever further apart.
    """
    if shutil.which("strace") is None:
        ledger.note("strace is not installed; part `calls` kills before the same calls by a hook")
        return
    lab.whole(SMALL)
    known = {(row["piece"], row["syscall"], row["nth"]) for row in ledger.rows}
    with ledger.progress(len(lab.chain.names) * len(_CALLS) * count, "strace") as bar:
        for piece in lab.chain.names:
            for name in _CALLS:
                for step in range(count):
                    bar.update()
                    nth = 1 + step * (step + 1) // 2
                    if (piece, name, nth) in known:
                        continue
                    row = _strace_once(lab, piece, name, nth)
                    if row is None:
                        ledger.note("strace may not attach to processes here")
                        return
                    ledger.add(row)
                    if not row["hits"]:
                        break


def _strace_once(lab: Lab, piece: str, name: str, nth: int) -> dict[str, Any] | None:
    """Kill a piece before one system call; None if strace cannot attach."""
    with lab.training(f"strace-{piece}-{name}-{nth}", SMALL) as training:
        for other in lab.chain.others(piece):
            training.start(other)
        gate_out, gate_in = os.pipe()

        def arm() -> None:
            os.close(gate_in)
            os.read(gate_out, 1)

        pid = training.start(piece, arm)
        os.close(gate_out)
        tracer = subprocess.Popen(
            ["strace", "-f", "-p", str(pid), "-o", os.devnull, "-e", f"trace={name}",
             "-e", f"inject={name}:signal=SIGKILL:when={nth}"],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert_line = tracer.stderr.readline() if tracer.stderr is not None else ""
        os.close(gate_in)
        if "attached" not in assert_line:
            tracer.kill()
            tracer.communicate()
            return None
        code = training.wait(piece)
        tracer.communicate()
        if code == -signal.SIGKILL:
            training.start(piece)
        wrong = lab.verdict(training)
    if not wrong:
        lab.remove(training)
    return {
        "provider": lab.provider, "piece": piece, "syscall": name, "nth": nth,
        "hits": int(code == -signal.SIGKILL), "wrong": wrong,
    }  # fmt: skip


def run_full(lab: Lab, ledger: Ledger, seed: int, count: int) -> None:
    """Fill a small file system under a training, and make room again.

    Has to run in a mount name space of its own; see scripts/fault_campaign.sh.

    Args:
        lab, ledger: where, and where rows go.
        seed: of moments.
        count: trainings; every other one runs out of inodes and not of bytes.
    """
    with ledger.progress(count, f"full disk ({lab.provider})", len(ledger.rows)) as bar:
        while len(ledger.rows) < count:
            number = len(ledger.rows)
            chance = random.Random(f"{seed}/full/{number}")
            row = _fill_once(lab, number, chance)
            if row is None:
                ledger.note("no tmpfs may be mounted here (user name spaces are off)")
                return
            ledger.add(row)
            bar.update()


def _fill_once(lab: Lab, number: int, chance: random.Random) -> dict[str, Any] | None:
    what = ("bytes", "inodes")[number % 2]
    variants = lab.chain.variants(["files"])
    variant = variants[number % len(variants)]
    disk = Path(f"disk{number}").absolute()
    disk.mkdir()
    options = f"size={_TMPFS_BYTES},nr_inodes={_TMPFS_INODES}"
    mounting = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
    if subprocess.run(mounting, capture_output=True).returncode:
        return None
    lab.whole(variant.trained)
    states: set[str] = set()
    try:
        with lab.training(f"disk{number}/run", variant.settings) as training:
            training.output = f"disk{number}-run"

            def arm() -> None:
                storage.FIRST_PAUSE_S = 0.1

            training.start_all(arm)
            # A start waits for room as well; this is about a training under way.
            target = chance.randrange(2, 30)
            while not training.all_have_reached(target) and training.running("net1"):
                time.sleep(0.005)
            _fill(disk, what)
            until_s = time.monotonic() + chance.uniform(1.0, 2.0)
            while time.monotonic() < until_s:
                found = status(RunDir(training.run_dir)).pieces
                states |= {found[piece].state for piece in lab.chain.names}
                time.sleep(0.05)
            for path in disk.glob("ballast*"):
                path.unlink()
            wrong = lab.verdict(training, variant.trained)
    finally:
        subprocess.run(["umount", str(disk)], check=False)
    return {
        "provider": lab.provider, **variant.facts, "full": what, "states": sorted(states),
        "blocked": any(state.startswith("blocked:ENOSPC") for state in states), "wrong": wrong,
    }  # fmt: skip


def _fill(disk: Path, what: str) -> None:
    """Take what is left of a file system."""
    try:
        if what == "bytes":
            with open(disk / "ballast", "wb", buffering=0) as file:
                while True:
                    file.write(bytes(1 << 12))
        for number in range(10 * _TMPFS_INODES):
            (disk / f"ballast{number}").touch()
    except OSError:
        return
