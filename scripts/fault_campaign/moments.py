"""Pieces are signalled at chosen moments: killed at named points, asked to stop at any."""

from __future__ import annotations

import importlib
import os
import random
import signal
import time
from typing import Any, Callable

from scripts.fault_campaign.lab import Lab
from scripts.fault_campaign.ledger import Ledger

__all__ = ["POINTS", "kill_at", "run_points", "run_stops"]

#: Named points: before and after each of these functions a piece is killed, in its first call and
#: in a later one. Module, class (or none), function.
POINTS = (
    ("dualnet.training.net.nets", "Nets", "update"),
    ("dualnet.training.net.nets", "Nets", "seed"),
    ("dualnet.training.checkpoint.caffe_files", "", "save"),
    ("dualnet.training.checkpoint.caffe_files", "", "restore"),
    ("dualnet.training.checkpoint.caffe_files", "", "clean"),
    ("dualnet.training.checkpoint.commit", "", "write"),
    ("dualnet.training.checkpoint.commit", "", "prune"),
    ("dualnet.training.checkpoint.commit", "", "mark_complete"),
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


def run_points(lab: Lab, ledger: Ledger, seed: int, count: int) -> None:
    """Kill before and after each named point, in each piece; a row for each.

    Args:
        lab, ledger: where, and where rows go.
        seed: unused: nothing is drawn.
        count: kills of each point, piece and side: in its 1st, 3rd, 9th … call.
    """
    plan = [
        (point, piece, side, 3**time)
        for point in POINTS
        for piece in lab.chain.names
        for side in ("before", "after")
        for time in range(count)
    ]
    known = {(row["point"], row["piece"], row["side"], row["nth"]) for row in ledger.rows}
    with ledger.progress(len(plan), f"named points ({lab.provider})") as bar:
        for (module, owner, name), piece, side, nth in plan:
            bar.update()
            point = f"{module.rpartition('.')[2]}.{name}"
            if (point, piece, side, nth) in known:
                continue

            def arm(
                path: tuple[str, str, str] = (module, owner, name), side: str = side, nth: int = nth
            ) -> None:
                kill_at(path, side, nth)

            settings = lab.chain.variant("alternating", "files", "updated").trained
            with lab.training(f"point-{bar.n}", settings) as training:
                for other in lab.chain.others(piece):
                    training.start(other)
                # What only a restart calls is tried in one.
                if name in ("restore", "resume"):
                    training.start(piece)
                    time.sleep(0.5)
                    training.kill(piece)
                training.start(piece, arm)
                code = training.wait(piece)
                if code == -signal.SIGKILL:
                    training.start(piece)
                wrong = lab.verdict(training)
            ledger.add({
                "provider": lab.provider, "point": point, "piece": piece, "side": side, "nth": nth,
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
            variants = lab.chain.variants()
            variant = variants[number % len(variants)]
            codes: list[int] = []
            took_s: list[float] = []
            with lab.training(f"stops{number}", variant.settings) as training:
                training.start_all()
                for _ in range(4):
                    time.sleep(chance.uniform(0.1, 0.9))
                    names = lab.chain.names
                    victims = chance.sample(names, chance.randint(1, len(names)))
                    victims = [piece for piece in victims if training.running(piece)]
                    what = chance.choice([signal.SIGTERM, signal.SIGUSR1])
                    began_s = time.monotonic()
                    for piece in victims:
                        training.signal(piece, what)
                    for piece in victims:
                        code = training.wait(piece)
                        codes.append(-1 if code is None else code)
                        took_s.append(round(time.monotonic() - began_s, 3))
                        training.start(piece)
                wrong = lab.verdict(training, variant.trained)
            # Before there is anything to save the signal ends the process as it ends any other.
            odd = set(codes) - {0, 128 + signal.SIGTERM, 128 + signal.SIGUSR1}
            wrong = wrong or (f"exit codes {sorted(odd)}" if odd else "")
            ledger.add({
                "provider": lab.provider, **variant.facts, "signals": len(codes),
                "codes": codes, "took_s": took_s, "wrong": wrong,
            })  # fmt: skip
            done += len(codes)
            bar.update(len(codes))
            if not wrong:
                lab.remove(training)
