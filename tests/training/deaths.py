"""Deaths of pieces at named points, in one process: as SIGKILL leaves them, or as an error does.

What a killed process can no longer do (a last heartbeat, a farewell) is left out, and the system
says that the process is gone: no neighbour can tell it from a real one.
"""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace

from dualnet.exchange.run.host import ProcessId
from dualnet.exchange.run.membership import Membership
from dualnet.rundir import RunDir
from dualnet.training.checkpoint import commit
from dualnet.training.checkpoint.checkpointer import Checkpointer
from dualnet.training.loop.piece import PieceLoop
from dualnet.training.start import ending
from dualnet.training.start import run as run_module
from tests.training.starting import CHAIN, train_one, train_single

#: Moments of a piece's end, in their order.
POINTS = (
    "last iteration",
    "last checkpoint",
    "last checkpoint written",
    "last test",
    "close",
    "closed",
    "complete",
    "marked complete",
    "remove",
)


class Killed(BaseException):
    """By SIGKILL, which runs no handler: nothing is said any more."""


class Deaths:
    """Who dies where: for each piece some points, at each of which it dies once.

    Args:
        monkeypatch: pytest's.
        plan: Piece to points; an error instead of a kill where the point ends with "!".
    """

    def __init__(self, monkeypatch, plan):
        self.plan = {piece: list(points) for piece, points in plan.items()}
        self.dead, self.errors, self.deaths = set(), [], 0
        #: Piece to what happens between its death and its next start.
        self.pauses = {}
        #: Piece to starts, and to what its last start returned.
        self.starts, self.ended = {}, {}
        self._numbers = itertools.count(10**7)
        self._here = threading.local()
        self._patch(monkeypatch)

    def at(self, point):
        """The present piece has come to a point: does it die there?"""
        piece = getattr(self._here, "piece", None)
        for due in self.plan.get(piece, []):
            if due.rstrip("!") == point:
                self.plan[piece].remove(due)
                self.deaths += 1
                if due.endswith("!"):
                    raise RuntimeError("an error")
                self._here.is_killed = True
                raise Killed

    def train(self, config, piece, run_dir, limit=20):
        """Start a piece again and again until its training is over."""
        self._here.piece = piece
        for _ in range(limit):
            self.starts[piece] = self.starts.get(piece, 0) + 1
            self._here.is_killed = False
            try:
                self.ended[piece] = train_one(config, RunDir(run_dir).piece(piece), self._arm)
                return
            except (Killed, RuntimeError):
                self.pauses.get(piece, lambda: None)()
            except BaseException as error:  # handed to the test
                self.errors.append((piece, error))
                return

    def both(self, config, run_dir):
        """Train both pieces in two threads."""
        threads = [
            threading.Thread(target=self.train, args=(config, piece, run_dir), daemon=True)
            for piece in CHAIN
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(100)
            assert not thread.is_alive(), "a piece hangs"

    def single(self, config, run_dir):
        """Start the uncut net once.

        Raises:
            Killed: it died.
        """
        self._here.piece = "single"
        train_single(config, RunDir(run_dir), progress=self._arm)

    def _arm(self, session):
        self._here.session = session

        def look(done):
            if done == session.max_iter:
                self.at("last iteration")

        session.on_progress = look

    def _patch(self, monkeypatch):
        deaths, lock = self, threading.Lock()

        def around(owner, name, before="", after="", only=lambda *arguments: True):
            real = getattr(owner, name)

            def call(*arguments, **settings):
                if before and only(*arguments):
                    deaths.at(before)
                result = real(*arguments, **settings)
                if after and only(*arguments):
                    deaths.at(after)
                return result

            monkeypatch.setattr(owner, name, call)

        def is_last(checkpointer, record):
            return record.iteration == deaths._here.session.max_iter

        def at_end(loop, iteration):
            return iteration == loop.session.max_iter

        around(Checkpointer, "write", "last checkpoint", "last checkpoint written", is_last)
        around(PieceLoop, "test", "last test", only=at_end)
        around(ending, "train_to_end", after="close")
        monkeypatch.setattr(run_module, "train_to_end", ending.train_to_end)
        around(commit, "mark_complete", "complete", "marked complete")
        around(run_module.traffic, "remove_when_over", "remove")
        # Caffe's random numbers belong to the process: one net at a time.
        build = run_module.Nets
        monkeypatch.setattr(run_module, "Nets", lambda *a: _with(lock, build, *a))
        self._patch_processes(monkeypatch)

    def _patch_processes(self, monkeypatch):
        """Each start is a process of its own, and the system knows which are dead."""
        deaths, current, close = self, ProcessId.current, Membership.close

        def begin():
            return replace(current(), pid=next(deaths._numbers))

        def die(member, state="done", wait=True):
            if getattr(deaths._here, "is_killed", False):
                state = "failed: Killed"  # by SIGKILL no `finally` comes to say another word
            if not state.startswith("failed: Killed"):
                close(member, state, wait)
                if state == "done":
                    deaths.at("closed")
                return
            deaths.dead.add(member.process.pid)
            monkeypatch.setattr(member.heartbeat, "set_state", lambda *a, **k: None)
            for end in member._ends:
                end._disconnect = lambda state, end=end: deaths._drop(end)
            close(member, state)

        monkeypatch.setattr(ProcessId, "current", staticmethod(begin))
        monkeypatch.setattr(ProcessId, "alive", lambda self, me: self.pid not in deaths.dead)
        monkeypatch.setattr(Membership, "close", die)

    @staticmethod
    def _drop(end):
        """As the system does with a dead process's connections."""
        connector = getattr(end, "_connector", None)
        if connector is None:
            return
        connector.close()
        wire = end._wire
        wire._leave_at_s = 0.0
        flow = wire._sender.flow
        wire._sender.stop(1.0)
        if flow is not None:
            flow.connection.close()
        connector.join(end.join_s)


def _with(lock, build, *arguments):
    with lock:
        return build(*arguments)
