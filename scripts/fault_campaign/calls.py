"""Injects SIGKILL before every file-changing call, and an error into every call.

The calls of a small training are counted by their sites, then the training is repeated for each: in
the first life of a piece, and in the life after a death in the middle of the training.
"""

from __future__ import annotations

import errno
import signal
import zlib
from collections import Counter
from functools import partial
from typing import Callable

from dualnet.exchange.disk import storage
from dualnet.report.status import status
from dualnet.rundir import RunDir
from scripts.fault_campaign.chain import SCHEDULES
from scripts.fault_campaign.lab import Lab
from scripts.fault_campaign.ledger import Ledger
from scripts.fault_campaign.training import Training
from scripts.fault_campaign.tripwire import Tripwire

__all__ = ["ERRORS", "SMALL", "run_errors", "run_kills"]

_SHORT = ("train.max_iter=6", "train.snapshot=2", "train.test_interval=3", "train.test_iter=1",
          "update.rule=manual", "update.learning_rate=0.01")  # fmt: skip
#: A run that uses every feature: tie, tests, checkpoints, deletion.
SMALL = (*_SHORT, "coupling.target=updated", "coupling.tie=every")
#: By schedule; pipelined does not have target `updated`.
_TRAINED = {
    "alternating": SMALL,
    "overlapped": (*SMALL, *SCHEDULES["overlapped"]),
    "pipelined": (*_SHORT, *SCHEDULES["pipelined"], "coupling.target=gradient",
                  "coupling.tie=start"),
}  # fmt: skip
LIVES = ("first", "restart")
#: Where a piece dies before its restart: the third checkpoint of three is not yet one.
_DEATH = ("rename: atomic._write < atomic.write_atomically < commit._write < commit.write", 2)
ERRORS = (errno.ENOSPC, errno.EIO, errno.ESTALE, errno.EDQUOT, errno.EACCES, errno.EROFS,
          errno.EFBIG, errno.EINTR)  # fmt: skip
#: Codes with which a piece may answer an error of the disk. 75: its own old heartbeat could not be
#: read, so that its old process could not be told from one that is alive.
_ANSWERS = {0, 74, 75}
#: Seconds that a failing disk is retried before a training gives up, and between two retries.
_RETRY_S, _PAUSE_S = 0.4, 0.05

#: Makes the wire that acts at a site's call of that number; without a site one that counts.
Make = Callable[[str, int], Tripwire]


def run_kills(lab: Lab, ledger: Ledger, seed: int, count: int) -> None:
    """Kill at each call once; a row for each.

    Args:
        lab: where.
        ledger: rows so far, and where new ones go.
        seed: chooses the schedule for each site.
        count: at most so many calls of each site, the first and the last of them; 0 is all.
    """
    for life in LIVES:
        _each_call(lab, ledger, life, seed, count, Tripwire, "kill", _kill_once)


def run_errors(lab: Lab, ledger: Ledger, seed: int, count: int) -> None:
    """Let each call fail once, and then from there on; a row for each.

    Args:
        lab, ledger: as in `run_kills`.
        seed: chooses the error and the schedule for each call.
        count: at most about so many calls of each piece and life; 0 is all.
    """
    for lasting in (False, True):

        def make(site: str, number: int, lasting: bool = lasting) -> Tripwire:
            error = ERRORS[(zlib.crc32(site.encode()) + number + seed) % len(ERRORS)]
            return Tripwire(site, number, error, lasting, reading=True)

        kind = "lasting" if lasting else "once"
        act = partial(_fail_once, lasting=lasting)
        _each_call(lab, ledger, "first", seed, count, make, kind, act)


def _each_call(
    lab: Lab,
    ledger: Ledger,
    life: str,
    seed: int,
    count: int,
    make: Make,
    kind: str,
    act: Callable[[Lab, Training, str], str],
) -> None:
    known = {
        (row["provider"], row["piece"], row["life"], row["kind"], row["at"], row.get("number"))
        for row in ledger.rows
    }
    for piece in lab.chain.names:
        calls = [
            (schedule, site, number, of)
            for schedule, settings in _TRAINED.items()
            for site, of in _count(lab, settings, piece, make, life).items()
            if _schedule_of(site, seed) == schedule
            for number in _chosen(of, count)
        ]
        title = f"{kind} at calls of {piece}, {life} life ({lab.provider})"
        with ledger.progress(len(calls), title) as bar:
            for place, (schedule, site, number, of) in enumerate(calls):
                if (lab.provider, piece, life, kind, site, number) not in known:
                    wire = make(site, number)
                    name = f"{kind}-{piece}-{life}-{place}"
                    with lab.training(name, _TRAINED[schedule]) as training:
                        _start(training, piece, life, wire)
                        wrong = act(lab, training, piece)
                    ledger.add({
                        "provider": lab.provider, "schedule": schedule, "piece": piece,
                        "life": life, "kind": kind, "at": site, "number": number, "of": of,
                        "error": wire.error, "hits": wire.hits, "code": training.first_code,
                        "wrong": wrong,
                    })  # fmt: skip
                    if not wrong:
                        lab.remove(training)
                bar.update()


def _schedule_of(site: str, seed: int) -> str:
    """The schedule in which a site is tried: nearly all sites occur in each, and one is enough."""
    return list(_TRAINED)[(zlib.crc32(site.encode()) + seed) % len(_TRAINED)]


def _chosen(calls: int, count: int) -> list[int]:
    """Which of a site's calls are tried: all, or `count` from the first to the last."""
    if not count or calls <= count:
        return list(range(calls))
    return [round(i * (calls - 1) / max(1, count - 1)) for i in range(count)]


def _start(training: Training, piece: str, life: str, wire: Tripwire) -> None:
    """Start all pieces, and `piece` in its first life or a restart, with the tripwire installed."""
    for other in training.chain.others(piece):
        training.start(other)
    if life == "restart":
        training.start(piece, Tripwire(*_DEATH).lay)
        if training.wait(piece) != -signal.SIGKILL:
            raise RuntimeError(f"{piece} was to die at {_DEATH[0]}: {training.errors(piece)}")

    def arm() -> None:
        storage.FIRST_PAUSE_S = _PAUSE_S
        wire.lay()

    training.start(piece, arm, f"exchange.storage_timeout_s={_RETRY_S}")


def _count(lab: Lab, settings: tuple[str, ...], piece: str, make: Make, life: str) -> Counter[str]:
    """Calls of each site, in a life without a fault."""
    wire = make("", 0)
    with lab.training(f"count-{piece}-{life}", settings) as training:
        _start(training, piece, life, wire)
        wrong = lab.verdict(training)
    if wrong:
        raise RuntimeError(f"a training that only counts went wrong: {wrong}")
    lab.remove(training)
    return wire.sites


def _kill_once(lab: Lab, training: Training, piece: str) -> str:
    """Start the piece again that the wire has killed; what is wrong in the end."""
    code = training.first_code = training.wait(piece)
    if code == -signal.SIGKILL:
        training.start(piece)
    elif code != 0:
        return f"{piece} ended with {code}: {training.errors(piece)}"
    return lab.verdict(training)


def _fail_once(lab: Lab, training: Training, piece: str, lasting: bool) -> str:
    """Inject an error into a piece; start it again if it gave up; what is wrong in the end."""
    states = set()
    while training.running(piece):
        if lasting:
            states.add(status(RunDir(training.run_dir)).pieces[piece].state.partition(":")[0])
    code = training.first_code = training.wait(piece)
    said = training.errors(piece)
    if code not in _ANSWERS:
        return f"{piece} ended with {code}: {said}"
    if code and not said.startswith("dualnet: "):
        return f"{piece} ended with {code} and did not say why: {said}"
    unstated = states - {"not started", "starting", "running", "waiting", "blocked", "failed",
                         "done", "complete", "dead", "stopped"}  # fmt: skip
    if unstated:
        return f"status showed {unstated}"
    if code:
        training.start(piece)
    return lab.verdict(training)
