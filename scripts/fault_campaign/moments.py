"""Halves are signalled at chosen moments: to stop, at named points, past their lease."""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

from dualnet.exchange.files.inbox import Inbox
from dualnet.exchange.run import membership
from dualnet.exchange.run.host import ProcessId
from scripts.fault_campaign.halves import COUPLINGS, ROLES, Lab, Training
from scripts.fault_campaign.ledger import Ledger

__all__ = ["POINTS", "kill_at", "run_points", "run_stops", "run_zombies"]

#: Named points: before and after each of these functions a half is killed, in its first call and in
#: a later one. Module, class (or none), function.
POINTS = (
    ("dualnet.train.net.nets", "Nets", "update"),
    ("dualnet.train.net.nets", "Nets", "seed"),
    ("dualnet.train.checkpoint.caffe_files", "", "save"),
    ("dualnet.train.checkpoint.caffe_files", "", "restore"),
    ("dualnet.train.checkpoint.caffe_files", "", "clean"),
    ("dualnet.train.checkpoint.commit", "", "write"),
    ("dualnet.train.checkpoint.commit", "", "prune"),
    ("dualnet.train.checkpoint.commit", "", "mark_complete"),
    ("dualnet.exchange.files.retention", "RetainedMessages", "delete_through"),
    ("dualnet.exchange.run.lease", "Lease", "take"),
    ("dualnet.exchange.run.manifest", "", "join_run"),
    ("dualnet.exchange.files.outbox", "Outbox", "send"),
    ("dualnet.exchange.files.outbox", "Outbox", "update"),
    ("dualnet.exchange.files.inbox", "Inbox", "read"),
    ("dualnet.exchange.files.channel", "FileChannel", "handshake"),
    ("dualnet.exchange.files.end", "End", "resume"),
    ("dualnet.exchange.files.end", "End", "checkpoint_passed"),
    ("dualnet.exchange.run.membership", "Membership", "close"),
)
#: A heartbeat that stands still so long is that of a dead half.
_LEASE_S = 0.8


def run_points(lab: Lab, ledger: Ledger, seed: int, count: int) -> None:
    """Kill before and after each named point, in either half; a row for each.

    Args:
        lab, ledger: where, and where rows go.
        seed: unused: nothing is drawn.
        count: kills of each point, half and side: in its 1st, 3rd, 9th … call.
    """
    plan = [
        (point, role, side, 3**time)
        for point in POINTS
        for role in ROLES
        for side in ("before", "after")
        for time in range(count)
    ]
    known = {(row["point"], row["role"], row["side"], row["nth"]) for row in ledger.rows}
    with ledger.progress(len(plan), f"named points ({lab.provider})") as bar:
        for (module, owner, name), role, side, nth in plan:
            bar.update()
            point = f"{module.rpartition('.')[2]}.{name}"
            if (point, role, side, nth) in known:
                continue

            def arm(
                path: tuple[str, str, str] = (module, owner, name), side: str = side, nth: int = nth
            ) -> None:
                kill_at(path, side, nth)

            with lab.training(f"point-{bar.n}", COUPLINGS["updated"]) as training:
                training.start(next(other for other in ROLES if other != role))
                # What only a restart calls is met in one.
                if name in ("restore", "resume"):
                    training.start(role)
                    time.sleep(0.5)
                    training.kill(role)
                training.start(role, arm)
                code = training.wait(role)
                if code == -signal.SIGKILL:
                    training.start(role)
                wrong = lab.verdict(training)
            ledger.add({
                "provider": lab.provider, "point": point, "role": role, "side": side, "nth": nth,
                "hits": int(code == -signal.SIGKILL), "wrong": wrong,
            })  # fmt: skip
            if not wrong:
                lab.remove(training)


def kill_at(path: tuple[str, str, str], side: str, nth: int) -> None:
    """Make the nth call of a function of this process its last."""
    module, owner, name = path
    place: Any = importlib.import_module(module)
    if owner:
        place = getattr(place, owner)
    real: Callable[..., Any] = getattr(place, name)
    calls = [0]

    def call(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == nth and side == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **kwargs)
        if calls[0] == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(place, name, call)
    if not owner:
        # Others have imported the function itself.
        for other in list(vars(importlib.import_module("sys"))["modules"].values()):
            if getattr(other, name, None) is real:
                setattr(other, name, call)


def run_stops(lab: Lab, ledger: Ledger, seed: int, count: int) -> None:
    """SIGTERM and SIGUSR1 at random moments; a row for each training.

    Args:
        lab, ledger: where, and where rows go.
        seed: of victims, signals and moments.
        count: signals wanted.
    """
    done = sum(row["signals"] for row in ledger.rows)
    with ledger.progress(count, f"stops ({lab.provider})", done) as bar:
        while done < count:
            number = len(ledger.rows)
            chance = random.Random(f"{seed}/stops/{number}")
            coupling = list(COUPLINGS)[number % len(COUPLINGS)]
            codes: list[int] = []
            took_s: list[float] = []
            with lab.training(f"stops{number}", COUPLINGS[coupling]) as training:
                for role in ROLES:
                    training.start(role)
                for _ in range(4):
                    time.sleep(chance.uniform(0.1, 0.9))
                    victims = chance.choice([["net1"], ["net2"], ["net1", "net2"]])
                    victims = [role for role in victims if training.running(role)]
                    what = chance.choice([signal.SIGTERM, signal.SIGUSR1])
                    began_s = time.monotonic()
                    for role in victims:
                        training.signal(role, what)
                    for role in victims:
                        code = training.wait(role)
                        codes.append(-1 if code is None else code)
                        took_s.append(round(time.monotonic() - began_s, 3))
                        training.start(role)
                wrong = lab.verdict(training)
            # Before there is anything to save the signal ends the process as it ends any other.
            odd = set(codes) - {0, 128 + signal.SIGTERM, 128 + signal.SIGUSR1}
            wrong = wrong or (f"exit codes {sorted(odd)}" if odd else "")
            ledger.add({
                "provider": lab.provider, "coupling": coupling, "signals": len(codes),
                "codes": codes, "took_s": took_s, "wrong": wrong,
            })  # fmt: skip
            done += len(codes)
            bar.update(len(codes))
            if not wrong:
                lab.remove(training)


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
            role = chance.choice(ROLES)
            coupling = list(COUPLINGS)[number % len(COUPLINGS)]
            with lab.training(f"zombie{number}", COUPLINGS[coupling]) as training:
                row = _one_zombie(lab, training, role, chance)
            ledger.add({"provider": lab.provider, "coupling": coupling, "role": role, **row})
            bar.update()
            if not row["wrong"]:
                lab.remove(training)


def _one_zombie(lab: Lab, training: Training, role: str, chance: random.Random) -> dict[str, Any]:
    other = next(name for name in ROLES if name != role)
    reads = Path(f"{training.run_dir}-reads").absolute()
    lease = f"exchange.dead_after_s={_LEASE_S}"
    training.start(role, None, lease)
    training.start(other, lambda: _note_reads(reads), lease)
    # One in eight is stopped while it starts.
    target = chance.randrange(-8, 56)
    while target >= 0 and training.running(role) and training.reached(role) < target:
        time.sleep(0.005)
    time.sleep(chance.uniform(0.0, 0.3 if target < 0 else 0.02))
    if not training.running(role):
        return {"outcome": "was faster", "used": 0, "wrong": lab.verdict(training)}
    old = training.pids[role]
    phase = training.phase(role)
    os.kill(old, signal.SIGSTOP)
    training.pids.pop(role)
    locks = Path(f"{training.run_dir}-locks").absolute()
    training.start(role, lambda: _move_to_another_node(locks), lease)
    # It wakes up while its successor works, or after the end. (One that wakes up while its lease
    # is being watched keeps it; that is case 20.)
    taken = Path(training.run_dir, "exchange", f"{role}.gen.000002")
    deadline_s = time.monotonic() + 60.0
    while not taken.exists() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    time.sleep(chance.uniform(0.0, 1.5))
    os.kill(old, signal.SIGCONT)
    status = os.waitpid(old, 0)[1]
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
    wrong = lab.verdict(training)
    used = _used_of_zombie(reads)
    successors = len(list(Path(training.run_dir, "exchange").glob(f"{role}.gen.*"))) - 1
    # One that was stopped before it had its lease, or in its very last step, is no zombie.
    if not wrong and code not in ((75,) if successors else (0, 75)):
        wrong = f"the zombie ended with {code}, {successors} successors: {training.errors(role)}"
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
    membership.NodeLock = lambda fs, folder, run, role: lock(  # type: ignore[misc,assignment]
        fs, str(locks), run, role
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
