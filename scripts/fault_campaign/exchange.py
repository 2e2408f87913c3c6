"""The fault cases of the exchange in one process, in their hundreds, and 8 copies at once."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from dualnet.errors import Superseded
from dualnet.exchange.run.host import ProcessId
from dualnet.exchange.run.membership import Membership
from dualnet.exchange.settings import ExchangeSettings
from scripts.fault_campaign.ledger import Ledger
from tests.exchange.cases import CASES, Bench
from tests.exchange.cases.storage import nfs_latency_s

__all__ = ["run_cases", "run_copies", "run_nfs"]

#: Cases of number 9 have one entry for each region of a record; with 100 injections of the others
#: these get 1,100 together.
_MORE = {9: 2.2, 21: 1.0}


def run_cases(scratch: Path, ledger: Ledger, seed: int, count: int) -> None:
    """Inject each case `count` times; a row for each case.

    Args:
        scratch: an existing folder.
        ledger: rows so far, and where new ones go.
        seed: of what is damaged where and when.
        count: injections of each.
    """
    known = {row["case"] for row in ledger.rows}
    with ledger.progress(len(CASES), "cases") as bar:
        for case in CASES:
            if case.run.__name__ not in known:
                times = round(count * _MORE.get(case.number, 1.0))
                began_s, wrong = time.monotonic(), ""
                try:
                    case.inject(scratch, seed, times)
                except Exception:
                    wrong = traceback.format_exc(limit=-3)
                ledger.add({
                    "number": case.number, "case": case.run.__name__, "title": case.title,
                    "expected": case.expected, "injections": times, "seed": seed,
                    "took_s": round(time.monotonic() - began_s, 2), "wrong": wrong,
                })  # fmt: skip
            bar.update()


def run_nfs(scratch: Path, ledger: Ledger, seed: int, count: int) -> None:
    """How late messages come on the model of NFS with caches of 60 s; one row.

    Args:
        scratch, ledger, seed: as in `run_cases`.
        count: waits, each of four messages.
    """
    if ledger.rows:
        return
    chance = random.Random(f"{seed}/nfs")
    late_s = []
    with ledger.progress(count, "model of NFS") as bar:
        for number in range(count):
            bench = Bench(scratch / f"nfs{number}")
            try:
                late_s.append(nfs_latency_s(bench, 10 ** chance.uniform(-3.0, 2.5)))
            finally:
                bench.close()
            bar.update()
    worst_s = max(late_s)
    ledger.add({
        "waits": count, "messages": 4 * count, "worst_s": worst_s,
        "median_s": sorted(late_s)[count // 2],
        "wrong": "" if worst_s <= 0.05 else f"{worst_s} s late",
    })  # fmt: skip


def run_copies(scratch: Path, ledger: Ledger, seed: int, count: int) -> None:
    """Start 8 copies of a piece at once, on one node and on eight by turns; a row for each time.

    Args:
        scratch, ledger: as in `run_cases`.
        seed: unused: nothing is drawn.
        count: how many times.
    """
    with ledger.progress(count, "8 copies at once", len(ledger.rows)) as bar:
        while len(ledger.rows) < count:
            nodes = 1 + 7 * (len(ledger.rows) % 2)
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                won = _start_eight(Path(folder), nodes)
            wrong = "" if won == 1 else f"{won} of 8 won"
            ledger.add({"nodes": nodes, "copies": 8, "won": won, "wrong": wrong})
            bar.update()


def _start_eight(folder: Path, nodes: int) -> int:
    """How many of eight processes became net1."""
    (folder / "run").mkdir()
    gate_out, gate_in = os.pipe()
    told_out, told_in = os.pipe()
    pids = []
    for number in range(8):
        pid = os.fork()
        if not pid:
            os.close(gate_in)
            code = b"?"
            try:
                os.read(gate_out, 1)  # the gate opens for all when the parent closes it
                code = _be_one(folder, number % nodes, told_in)
            except BaseException:
                traceback.print_exc()
            finally:
                os.write(told_in, code)
                if code == b"w":
                    signal.pause()  # it holds the name until it is killed
                os._exit(0)
        pids.append(pid)
    os.close(gate_out)
    os.close(gate_in)
    said = b""
    while len(said) < 8:
        said += os.read(told_out, 8)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    os.close(told_in)
    os.close(told_out)
    return said.count(b"w") if b"?" not in said else -1


def _be_one(folder: Path, node: int, told: int) -> bytes:
    """Try to become net1; "w" if this process did, "l" if another one is."""
    real = ProcessId.current()
    process = replace(real, boot_id=f"{real.boot_id} {node}") if node else real
    settings = ExchangeSettings(
        lock_dir=str(folder / f"locks{node}"), dead_after_s=4.0, heartbeat_s=0.1
    )
    identity: dict[str, Any] = {"config": "c0ffee"}
    try:
        Membership("net1", str(folder / "run"), settings, identity, process=process)
    except Superseded:
        return b"l"
    return b"w"
