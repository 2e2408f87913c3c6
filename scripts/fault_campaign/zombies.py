"""SIGSTOP past the lease, a replacement "on another node", SIGCONT: the zombie does no harm."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dualnet.exchange.files.inbox import Inbox
from dualnet.exchange.run import membership
from dualnet.exchange.run.host import ProcessId
from scripts.fault_campaign.lab import Lab
from scripts.fault_campaign.ledger import Ledger
from scripts.fault_campaign.training import Training

__all__ = ["run_zombies"]

#: A piece whose heartbeat is unchanged for so long counts as dead.
_LEASE_S = 0.8


def run_zombies(lab: Lab, ledger: Ledger, seed: int, count: int) -> None:
    """SIGSTOP past the lease, a replacement "on another node", SIGCONT; a row for each.

    Args:
        lab, ledger: where, and where rows go.
        seed: of victims and moments.
        count: how many.
    """
    with ledger.progress(count, f"zombies ({lab.provider})", len(ledger.rows)) as bar:
        while len(ledger.rows) < count:
            number = len(ledger.rows)
            chance = random.Random(f"{seed}/zombies/{number}")
            piece = chance.choice(lab.chain.names)
            variants = lab.chain.variants(["files"])
            variant = variants[number % len(variants)]
            with lab.training(f"zombie{number}", variant.settings) as training:
                row = _one_zombie(lab, training, variant.trained, piece, chance)
            ledger.add({"provider": lab.provider, **variant.facts, "piece": piece, **row})
            bar.update()
            if not row["wrong"]:
                lab.remove(training)


def _one_zombie(
    lab: Lab, training: Training, trained: tuple[str, ...], piece: str, chance: random.Random
) -> dict[str, Any]:
    reads = Path(f"{training.run_dir}-reads").absolute()
    lease = f"exchange.dead_after_s={_LEASE_S}"
    training.start(piece, None, lease)
    for other in training.chain.others(piece):
        training.start(other, lambda: _note_reads(reads), lease)
    # One in eight is stopped while it starts.
    target = chance.randrange(-8, 56)
    while target >= 0 and training.running(piece) and training.reached(piece) < target:
        time.sleep(0.005)
    time.sleep(chance.uniform(0.0, 0.3 if target < 0 else 0.02))
    if not training.running(piece):
        return {"outcome": "was faster", "used": 0, "wrong": lab.verdict(training, trained)}
    old = training.pids[piece]
    phase = training.phase(piece)
    os.kill(old, signal.SIGSTOP)
    training.pids.pop(piece)
    locks = Path(f"{training.run_dir}-locks").absolute()
    training.start(piece, lambda: _move_to_another_node(locks), lease)
    # It wakes up while its successor works, or after the end. (One that wakes up while its lease
    # is being watched keeps it; that is case 20.)
    taken = Path(training.run_dir, "exchange", f"{piece}.gen.000002")
    deadline_s = time.monotonic() + 60.0
    while not taken.exists() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    time.sleep(chance.uniform(0.0, 1.5))
    os.kill(old, signal.SIGCONT)
    status = os.waitpid(old, 0)[1]
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
    wrong = lab.verdict(training, trained)
    used = _used_of_zombie(reads)
    successors = len(list(Path(training.run_dir, "exchange").glob(f"{piece}.gen.*"))) - 1
    # One that was stopped before it had its lease, or in its very last step, is no zombie.
    if not wrong and code not in ((75,) if successors else (0, 75)):
        wrong = f"the zombie ended with {code}, {successors} successors: {training.errors(piece)}"
    if not wrong and used:
        wrong = f"{used} records of the zombie used"
    return {
        "outcome": f"exit {code}", "phase": phase, "successors": successors, "used": used,
        "wrong": wrong,
    }  # fmt: skip


def _move_to_another_node(locks: Path) -> None:
    """Give this process another machine's name and disk: from here nothing is known of others."""
    real, lock = ProcessId.current(), membership.NodeLock
    there = replace(real, host="elsewhere", boot_id="another boot", pid_ns="pid:[2]")
    ProcessId.current = classmethod(lambda cls: there)  # type: ignore[method-assign,assignment]
    membership.NodeLock = lambda fs, folder, run, piece: lock(  # type: ignore[misc,assignment]
        fs, str(locks), run, piece
    )


def _note_reads(path: Path) -> None:
    """Write down which epoch's message each read used, and which epoch was known by then."""
    real = Inbox.read

    def read(self: Inbox, source: Any, seq: int, *rest: Any) -> Any:
        message = real(self, source, seq, *rest)
        latest = self._neighbour.latest
        facts = [seq, source.epoch, latest.epoch if latest else 0, latest.base if latest else -1]
        with open(path, "a", encoding="ascii") as file:
            file.write(json.dumps(facts) + "\n")
        return message

    Inbox.read = read  # type: ignore[method-assign]


def _used_of_zombie(path: Path) -> int:
    """Messages that were taken from an older epoch though the successor had its own to send."""
    if not path.exists():
        return 0
    rows: Sequence[list[int]] = [json.loads(line) for line in path.read_text().splitlines()]
    return sum(epoch < latest and seq > base >= 0 for seq, epoch, latest, base in rows)
