"""A training with the faults of its plan, started once more when they are over."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Optional

from dualnet.exchange.paths import DataName
from dualnet.rundir import RunDir
from dualnet.training.checkpoint import commit
from scripts.fault_campaign.arming import SIGNALS, arm, held_signals, main
from scripts.fault_campaign.chain import Chain
from scripts.fault_campaign.crowd import descendants
from scripts.fault_campaign.draw import Life, Plan, Round
from scripts.fault_campaign.strangers import Strangers
from scripts.fault_campaign.training import Arm, Training

__all__ = ["Disturbed", "life_facts"]

#: How long a fault waits for its moment: pieces that are forked, and those that import everything.
_MOMENT_S = {"forked": 4.0, "commands": 20.0, "train": 20.0}
#: How long the last start may take beyond the timers of the run.
_LIMIT_S = 120.0
#: What a piece with a fault may end with: done or stopped, an error of a neighbour or the disk,
#: another copy, no memory, or the signal's own code, before the training could take it.
_ANSWERS = {0, 70, 71, 72, 74, 75, 77, *(128 + n for n in SIGNALS.values()),
            *(-n for n in SIGNALS.values())}  # fmt: skip
_INTERRUPTED = re.compile(r"Traceback \(most recent call last\):\n(?:  .*\n)*KeyboardInterrupt\n")
_ABORTED = ("Fatal Python error", "terminate called")
_BROKEN = ("Traceback (most", "Exception ignored", *_ABORTED)


class Disturbed(Training):
    """A training with the faults of its plan."""

    def __init__(self, run_dir: str, plan: Plan, chain: Chain) -> None:
        super().__init__(run_dir, (*plan.trained, *plan.others), chain)
        self.plan = plan
        self.mode = plan.mode
        #: What is started and waited for.
        self.names: tuple[str, ...] = ("parent",) if self.mode == "train" else chain.names
        #: Name and exit code of every process that has ended, in order.
        self.ends: list[list[Any]] = []
        #: Files of messages on the disk at a time, and files of one and the same message.
        self.peak_messages = self.most_copies = 0
        self._from: dict[str, int] = {}
        #: Whether something is still to befall a process.
        self._is_doomed: dict[str, bool] = {}
        self._rivals: dict[str, list[int]] = {}
        self._ended_s: dict[str, float] = {}
        self._strangers = Strangers(plan.strangers) if plan.strangers else None
        self._start_all(plan.first, plan.first_lives)

    # Processes.

    def start(self, piece: str, arm: Optional[Arm] = None, *extra: str) -> int:
        """Start a piece or `dualnet train`, beside the one that runs already, if any."""
        if self.mode == "forked":
            run = partial(main, self.command(piece, *extra))
        else:
            words = [sys.executable, "-m", "dualnet", *self._words(piece)]
            run = partial(os.execv, sys.executable, words)
        with held_signals():
            pid = self.fork(f"{piece}.err", run, arm)
        if self.running(piece):
            self._rivals.setdefault(piece, []).append(pid)
        else:
            self.pids[piece] = pid
            self.codes.pop(piece, None)
        return pid

    def _words(self, piece: str) -> list[str]:
        words = self.command("train" if piece == "parent" else piece)
        return words if piece != "parent" else [*words, "--restarts", str(self.plan.number % 3)]

    def running(self, piece: str) -> bool:
        """Whether a piece runs, or a copy that has taken its place."""
        if super().running(piece):
            return True
        self._reap_rivals()
        if not self._rivals.get(piece):
            return False
        self.pids[piece] = self._rivals[piece].pop(0)
        self.codes.pop(piece, None)
        return super().running(piece)

    def _reap_rivals(self) -> None:
        """Take note of the copies that were refused."""
        for piece, pids in self._rivals.items():
            for pid in list(pids):
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    pids.remove(pid)
                    self.ends.append([f"copy of {piece}", os.waitstatus_to_exitcode(status)])

    def _ended(self, piece: str, status: int) -> None:
        super()._ended(piece, status)
        self.ends.append([piece, self.codes[piece]])
        self._ended_s[piece] = time.monotonic()

    def _start_all(
        self,
        how: tuple[tuple[str, ...], float],
        lives: dict[str, Life],
        names: Optional[Sequence[str]] = None,
    ) -> None:
        order, apart_s = how
        chosen = [name for name in order if names is None or name in names]
        if self.mode == "train":
            chosen = ["parent"] if names is None or names else []
        for place, name in enumerate(chosen):
            if place:
                time.sleep(apart_s)
            life = lives.get(name, Life())
            # A copy may take over later; then it is the one that is to die.
            self._is_doomed[name] = life != Life() or (
                self.running(name) and self._is_doomed.get(name, False)
            )
            self.start(name, partial(arm, life))

    def _pids_of(self, victim: str) -> list[int]:
        """Processes that a signal for this victim goes to."""
        if victim in self.names:
            return [self.pids[victim]] if self.running(victim) else []
        if not self.running("parent"):
            return []
        pieces = descendants(self.pids["parent"])
        if victim == "group":
            return [self.pids["parent"], *pieces]
        return [pid for pid, words in pieces.items() if f" dualnet {victim} " in words]

    def _family(self) -> dict[int, str]:
        """All processes of this training: number and command line."""
        found = descendants(os.getpid())
        if self._strangers is not None and self._strangers.pid is not None:
            found.pop(self._strangers.pid, None)
        return found

    # Faults.

    def disturb(self, fault: Round) -> dict[str, Any]:
        """One fault and what follows it; what happened."""
        if not any(map(self.running, self.names)):
            self._start_all((fault.order, fault.apart_s), {})
        self._from = {piece: self.reached(piece) for piece in self.chain.names}
        is_met = self._await(fault)
        phases = {piece: self.phase(piece) for piece in self.chain.names}
        reached = {piece: self.reached(piece) for piece in self.chain.names}
        victims = [name for name in fault.victims if self._pids_of(name)]
        # One of them may have ended by itself.
        victims = victims or [name for name in self.names if self.running(name)]
        self._count_messages()
        if fault.fill_s:
            self._fill(fault.fill_s)
        self._signal(fault, victims)
        time.sleep(fault.pause_s)
        if fault.again == "victims" and fault.signal != "STOP":
            limit_s = time.monotonic() + self.plan.other("train.stop_within_s") + 20.0
            for name in self.names:
                while name in victims and self.running(name) and time.monotonic() < limit_s:
                    time.sleep(0.005)
        names = {
            "victims": [n for n in self.names if n in victims and not self.running(n)],
            "ended": [n for n in self.names if not self.running(n)],
            "all": list(self.names),
            "none": [],
        }[fault.again]
        if self.mode == "train" and fault.again == "victims" and not self.running("parent"):
            names = ["parent"]
        self._start_all((fault.order, fault.apart_s), fault.lives, names)
        self._reap_rivals()
        return _facts(fault, is_met, {name: phases.get(name, "any") for name in victims},
                      [reached[piece] for piece in self.chain.names], names)  # fmt: skip

    def _await(self, fault: Round) -> bool:
        """Wait for the moment of a fault; whether it came while a piece was running."""
        limit_s = time.monotonic() + _MOMENT_S[self.mode]
        while fault.when != "time" and not self._is_time(fault):
            if time.monotonic() > limit_s or not any(map(self.running, self.names)):
                return False
            time.sleep(0.003)
        time.sleep(fault.after_s)
        return True

    def _is_time(self, fault: Round) -> bool:
        if fault.when != "reached":
            return self.phase(fault.piece) == fault.when
        return self.reached(fault.piece) >= self._from[fault.piece] + fault.number

    def is_complete(self) -> bool:
        """Whether all pieces have come to their end, and left."""
        running = any(map(self.running, self.names))
        return not running and all(
            commit.complete(RunDir(self.run_dir).piece(piece)) for piece in self.chain.names
        )

    def _signal(self, fault: Round, victims: Sequence[str]) -> None:
        pids = [pid for name in victims for pid in self._pids_of(name)]
        number = getattr(signal, f"SIG{fault.signal}")
        for pid in pids:
            _send(pid, number)
        if fault.signal != "STOP":
            # It may take its time to end.
            self._is_doomed.update(dict.fromkeys(victims, True))
        if fault.signal == "STOP":
            time.sleep(fault.stopped_s)
            for pid in pids:
                _send(pid, signal.SIGCONT)

    def _fill(self, fill_s: float) -> None:
        """Leave no room on the run's own disk for so long."""
        path = Path(self.run_dir).parent / "ballast"
        try:
            with open(path, "wb", buffering=0) as file:
                while True:
                    file.write(bytes(1 << 12))
        except OSError:
            time.sleep(fill_s)
        path.unlink(missing_ok=True)

    def _count_messages(self) -> None:
        names = [path.name for path in Path(self.run_dir, "exchange").rglob("*.npy")]
        found = [name for name in map(DataName.parse, names) if name is not None]
        self.peak_messages = max(self.peak_messages, len(found))
        copies = Counter((name.piece, name.iteration, name.kind, name.array) for name in found)
        self.most_copies = max([self.most_copies, *copies.values()])

    # The end.

    def finish(self) -> dict[str, Any]:
        """The faults are over: the same command once for all pieces, and what came of it."""
        kept = self._settle()
        self._count_messages()
        began_s = time.monotonic()
        self._start_all(self.plan.last, {}, [n for n in self.names if n not in kept])
        limit_s = began_s + _LIMIT_S + self.plan.other("exchange.partner_timeout_s")
        wrong = self._wait_for_end(limit_s)
        took_s = round(time.monotonic() - began_s, 2)
        if not wrong and self.plan.once_more:
            self._start_all(self.plan.last, {})
            wrong = self._wait_for_end(time.monotonic() + _LIMIT_S)
            wrong = f"once more: {wrong}" if wrong else ""
        return {"wrong": wrong, "took_s": took_s, "kept": kept}

    def _wait_for_end(self, limit_s: float) -> str:
        for name in self.names:
            if self.wait(name, max(1.0, limit_s - time.monotonic())) is None:
                for pid in self._family():
                    _send(pid, signal.SIGUSR2)  # they write where they are, those forked from here
                time.sleep(1.0)
                return f"{name} does not end"
        codes = {name: self.codes[name] for name in self.names}
        if set(codes.values()) != {0}:
            said = " | ".join(self.errors(name) for name in self.names)
            return f"exit codes {codes}: {said}"
        return ""

    def _settle(self) -> list[str]:
        """Do what the plan says with those that still run; the names of those that go on."""
        left = self.plan.left
        running = [name for name in self.names if self.running(name)]
        is_doomed = any(self._is_doomed[name] for name in running)
        if left == "kept" and self.mode != "train" and running and not is_doomed:
            grace_s = self.plan.other("exchange.restart_grace_s")
            if grace_s:
                now_s = time.monotonic()
                gone_s = [now_s - self._ended_s[n] for n in self.names if n not in running]
                if max(gone_s, default=0.0) + self.plan.last[1] + 5.0 < grace_s:
                    return running
        if left == "killed":
            self._kill_all(after_they_say_where=False)
        elif left == "stopped":
            for name in running:
                _send(self.pids[name], signal.SIGTERM)
        limit_s = time.monotonic() + _LIMIT_S + 60.0
        while self._is_busy() and time.monotonic() < limit_s:
            time.sleep(0.01)
        if self._is_busy():
            self.ends.append(["what still hangs", None])
            self._kill_all(after_they_say_where=True)
        return []

    def _is_busy(self) -> bool:
        """Whether a process is there; those that have ended are reaped.

        One whose threads are still ending is a zombie already, and not yet to be reaped.
        """
        self._reap_rivals()
        return any([*map(self.running, self.names), self._family()])

    def _kill_all(self, after_they_say_where: bool) -> None:
        if after_they_say_where:  # those that are forked from here do, see arming.py
            for pid in self._family():
                _send(pid, signal.SIGUSR2)
            time.sleep(1.0)
        while self._is_busy():
            for pid in self._family():
                _send(pid, signal.SIGKILL)
            time.sleep(0.01)

    def left_behind(self) -> str:
        """Processes and files that a complete run should not leave; "" if there are none."""
        left = [f"process {words}" for words in self._family().values()]
        left += [name for name in os.listdir(self.run_dir) if "tmp" in name]
        left += [path.name for path in Path(self.run_dir, "exchange").rglob("*.npy")]
        return f"left behind: {', '.join(left)[:500]}" if left else ""

    def odd(self) -> str:
        """What should not have happened on the way; "" if nothing."""
        answers = _ANSWERS | ({1} if self.mode == "train" else set())
        broken = list(_BROKEN)
        if "exchange.carrier=torch" in self.settings and self._lacks_something():
            # PyTorch's own threads abort the process when they may open no more files.
            answers.add(-signal.SIGABRT)
            broken = [word for word in broken if word not in _ABORTED]
        found = [f"{name} ended with {code}" for name, code in self.ends if code not in answers]
        for path in self._outputs():
            text = path.read_text(errors="replace")
            # Python's own, of Ctrl-C while it starts.
            text = _INTERRUPTED.sub("", text)
            places = [text.index(word) for word in broken if word in text]
            found += [f"{path.name}: {text[place : place + 1500]}" for place in places]
        return "; ".join(found)

    def _lacks_something(self) -> bool:
        """Whether a life of this training has had too few files or too little memory."""
        lives = [self.plan.first_lives, *(fault.lives for fault in self.plan.rounds)]
        return any(
            life.files is not None or life.memory_mib is not None
            for some in lives
            for life in some.values()
        )

    def _outputs(self) -> list[Path]:
        return [*Path().glob(f"{self.output}-*.err"), *Path(self.run_dir).glob("net?.out")]

    def end(self) -> None:
        """Leave no process behind."""
        if self._strangers is not None:
            self._strangers.stop()
        for pid in self._family():
            _send(pid, signal.SIGKILL)
        try:
            while True:
                os.waitpid(-1, 0)
        except ChildProcessError:
            pass


def _facts(
    fault: Round, is_met: bool, victims: dict[str, str], reached: list[int], started: list[str]
) -> dict[str, Any]:
    """What a row says of a fault: what was drawn, as far as it played a part, and what was met."""
    facts: dict[str, Any] = {"when": fault.when, "after_s": fault.after_s, "signal": fault.signal}
    if fault.when != "time":
        facts["piece"] = fault.piece
    if fault.when == "reached":
        facts["number"] = fault.number
    if fault.signal == "STOP":
        facts["stopped_s"] = fault.stopped_s
    if fault.fill_s:
        facts["fill_s"] = fault.fill_s
    facts.update(
        met=is_met,
        victims=victims,
        reached=reached,
        pause_s=fault.pause_s,
        again=fault.again,
        started=[n for n in fault.order if n in started] or started,
    )
    if len(started) > 1:
        facts["apart_s"] = fault.apart_s
    lives = {name: life_facts(life) for name, life in fault.lives.items() if name in started}
    return {**facts, **({"lives": lives} if lives else {})}


def life_facts(life: Life) -> dict[str, Any]:
    """What a life lacked, for a row."""
    return {key: value for key, value in asdict(life).items() if value is not None}


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
