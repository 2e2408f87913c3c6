"""Every call that changes the disk is met by SIGKILL, and every call at all by errors.

The calls of a small training are counted by their sites, then the training is repeated for each: in
the first life of a half, and in the life after a death in the middle of the training.
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
from scripts.fault_campaign.halves import ROLES, Lab, Training
from scripts.fault_campaign.ledger import Ledger
from scripts.fault_campaign.tripwire import Tripwire

__all__ = ["ERRORS", "SMALL", "run_errors", "run_kills"]

#: A training with all that there is: a tie, tests, checkpoints and the deletion of old ones.
SMALL = (
    "train.max_iter=6", "train.snapshot=2", "train.test_interval=3", "train.test_iter=1",
    "update.rule=manual", "coupling.target=updated", "coupling.tie=every",
    "update.learning_rate=0.01",
)  # fmt: skip
LIVES = ("first", "restart")
#: Where a half dies before its restart: the third checkpoint of three is not yet one.
_DEATH = ("rename: atomic.write_atomically < commit._write < commit.write < "
          "checkpointer._try_to_write", 2)  # fmt: skip
ERRORS = (errno.ENOSPC, errno.EIO, errno.ESTALE, errno.EDQUOT, errno.EACCES, errno.EROFS,
          errno.EFBIG, errno.EINTR)  # fmt: skip
#: Codes with which a half may answer an error of the disk. 75: its own old heartbeat could not be
#: read, and so its old process not be told from a living one.
_ANSWERS = {0, 74, 75}
#: While the disk fails, a training waits so long, in pauses of this length, before it gives up.
_PATIENCE_S, _PAUSE_S = 0.4, 0.05

#: Makes the wire that acts at a site's call of that number; without a site one that counts.
Make = Callable[[str, int], Tripwire]


def run_kills(lab: Lab, ledger: Ledger, seed: int, count: int) -> None:
    """Kill at each call once; a row for each.

    Args:
        lab: where.
        ledger: rows so far, and where new ones go.
        seed: unused: nothing is drawn.
        count: at most so many calls of each site, the first and the last of them; 0 is all.
    """
    for life in LIVES:
        _each_call(lab, ledger, life, count, Tripwire, "kill", _kill_once)


def run_errors(lab: Lab, ledger: Ledger, seed: int, count: int) -> None:
    """Let each call fail once, and then from there on; a row for each.

    Args:
        lab, ledger: as in `run_kills`.
        seed: which error each call meets.
        count: at most about so many calls of each half and life; 0 is all.
    """
    for lasting in (False, True):

        def make(site: str, number: int, lasting: bool = lasting) -> Tripwire:
            error = ERRORS[(zlib.crc32(site.encode()) + number + seed) % len(ERRORS)]
            return Tripwire(site, number, error, lasting, reading=True)

        kind = "lasting" if lasting else "once"
        _each_call(lab, ledger, "first", count, make, kind, partial(_fail_once, lasting=lasting))


def _each_call(
    lab: Lab,
    ledger: Ledger,
    life: str,
    count: int,
    make: Make,
    kind: str,
    act: Callable[[Lab, Training, str], str],
) -> None:
    lab.whole(SMALL)
    known = {
        (row["provider"], row["role"], row["life"], row["kind"], row["at"], row.get("number"))
        for row in ledger.rows
    }
    for role in ROLES:
        sites = _count(lab, role, make, life)
        calls = [(site, number) for site in sites for number in _chosen(sites[site], count)]
        title = f"{kind} at calls of {role}, {life} life ({lab.provider})"
        with ledger.progress(len(calls), title) as bar:
            for place, (site, number) in enumerate(calls):
                if (lab.provider, role, life, kind, site, number) not in known:
                    wire = make(site, number)
                    with lab.training(f"{kind}-{role}-{life}-{place}", SMALL) as training:
                        _start(training, role, life, wire)
                        wrong = act(lab, training, role)
                    ledger.add({
                        "provider": lab.provider, "role": role, "life": life, "kind": kind,
                        "at": site, "number": number, "of": sites[site], "error": wire.error,
                        "hits": wire.hits, "code": training.first_code, "wrong": wrong,
                    })  # fmt: skip
                    if not wrong:
                        lab.remove(training)
                bar.update()


def _chosen(calls: int, count: int) -> list[int]:
    """Which of a site's calls are met: all, or `count` from the first to the last."""
    if not count or calls <= count:
        return list(range(calls))
    return [round(i * (calls - 1) / max(1, count - 1)) for i in range(count)]


def _start(training: Training, role: str, life: str, wire: Tripwire) -> None:
    """Start both halves, so that `role` lives the given life with the wire laid."""
    training.start(next(other for other in ROLES if other != role))
    if life == "restart":
        training.start(role, Tripwire(*_DEATH).lay)
        if training.wait(role) != -signal.SIGKILL:
            raise RuntimeError(f"{role} was to die at {_DEATH[0]}: {training.errors(role)}")

    def arm() -> None:
        storage.FIRST_PAUSE_S = _PAUSE_S
        wire.lay()

    training.start(role, arm, f"exchange.storage_timeout_s={_PATIENCE_S}")


def _count(lab: Lab, role: str, make: Make, life: str) -> Counter[str]:
    """Calls of each site in a life that nothing happens to."""
    wire = make("", 0)
    with lab.training(f"count-{role}-{life}", SMALL) as training:
        _start(training, role, life, wire)
        wrong = lab.verdict(training)
    if wrong:
        raise RuntimeError(f"a training that only counts went wrong: {wrong}")
    lab.remove(training)
    return wire.sites


def _kill_once(lab: Lab, training: Training, role: str) -> str:
    """Start the half again that the wire has killed; what is wrong in the end."""
    code = training.first_code = training.wait(role)
    if code == -signal.SIGKILL:
        training.start(role)
    elif code != 0:
        return f"{role} ended with {code}: {training.errors(role)}"
    return lab.verdict(training)


def _fail_once(lab: Lab, training: Training, role: str, lasting: bool) -> str:
    """Let a half meet its error; start it again if it gave up; what is wrong in the end."""
    states = set()
    while training.running(role):
        if lasting:
            states.add(status(RunDir(training.run_dir)).pieces[role].state.partition(":")[0])
    code = training.first_code = training.wait(role)
    said = training.errors(role)
    if code not in _ANSWERS:
        return f"{role} ended with {code}: {said}"
    if code and not said.startswith("dualnet: "):
        return f"{role} ended with {code} and did not say why: {said}"
    unstated = states - {"not started", "starting", "running", "waiting", "blocked", "failed",
                         "done", "complete", "dead", "stopped"}  # fmt: skip
    if unstated:
        return f"status showed {unstated}"
    if code:
        training.start(role)
    return lab.verdict(training)
