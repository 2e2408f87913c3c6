"""Liveness: when the faults end, the same command, given once, completes the training.

Each training has options and faults of its own (draw.py): pieces are killed, stopped, suspended,
starved of memory, files and disk, in their last moments too, and started again at once or late.
Then all are given their command once more, and the training has to complete, with the weights,
solver history and losses of one that nobody disturbed.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Optional

from dualnet.rundir import RunDir
from dualnet.training.outcome.digest import digest
from scripts.fault_campaign.crowd import side_by_side
from scripts.fault_campaign.disturbed import Disturbed, life_facts
from scripts.fault_campaign.draw import Plan, draw
from scripts.fault_campaign.lab import Lab, same, undisturbed
from scripts.fault_campaign.ledger import Ledger
from scripts.fault_campaign.training import Training

__all__ = ["run", "watch"]


def run(
    lab: Lab,
    ledger: Ledger,
    seed: int,
    count: int,
    only: Optional[Sequence[int]] = None,
    jobs: int = 3,
    keep: Optional[Path] = None,
) -> None:
    """Watch `count` trainings, several at a time; a row for each.

    Args:
        lab, ledger: where, and where rows go; numbers that have one are passed over.
        seed: of everything that is drawn.
        count: numbers 0 to count - 1.
        only: these numbers instead.
        jobs: trainings at a time.
        keep: folder for the files of those that went wrong.
    """
    known = {row["training"] for row in ledger.rows if row["seed"] == seed}
    wanted = list(only) if only is not None else list(range(count))
    todo = [number for number in wanted if number not in known]
    with ledger.progress(len(wanted), "liveness", len(wanted) - len(todo)) as bar:
        for number, row in side_by_side(todo, jobs, partial(watch, lab, seed, keep=keep)):
            ledger.add({"training": number, "seed": seed, **row})
            bar.update()


def watch(lab: Lab, seed: int, number: int, keep: Optional[Path] = None) -> dict[str, Any]:
    """One training from its first start to the comparison; its row.

    Args:
        lab: where.
        seed, number: of the plan.
        keep: as of `run`.
    """
    plan = draw(seed, number, lab.chain)
    whole = _undisturbed(lab, plan.trained)
    began_s = time.monotonic()
    place = f"live{seed}-{number}"
    if plan.has_disk and not _mount(Path(place)):
        return {"wrong": "the campaign: no tmpfs can be mounted here; see part full"}
    training = Disturbed(f"{place}/run" if plan.has_disk else place, plan, lab.chain)
    training.output = place
    try:
        faults = []
        for fault in plan.rounds:
            if training.is_complete():
                break
            faults.append(training.disturb(fault))
        last = training.finish()
        row = {**_facts(plan), "faults": faults, **last, **_verdict(training, whole, last["wrong"])}
        row["all_s"] = round(time.monotonic() - began_s, 1)
        if row["wrong"] and keep is not None:
            _keep(keep / place, place, training)
    finally:
        training.end()
        if plan.has_disk:
            subprocess.run(["umount", "-l", place], check=False)
    if not row["wrong"]:
        lab.remove(training)
        shutil.rmtree(place, ignore_errors=True)
    return row


def _undisturbed(lab: Lab, trained: tuple[str, ...]) -> str:
    """The run directory of an undisturbed training with these options; made once."""
    key = hashlib.sha256("\n".join(trained).encode()).hexdigest()[:12]
    name, done = f"whole-{key}", Path(f"whole-{key}.done")
    with open(f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            with lab.training(name, trained) as training:
                undisturbed(training)
            done.touch()
    return name


def _mount(place: Path) -> bool:
    """Give this process a small file system of its own there."""
    place.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    new_user, new_mounts = 0x10000000, 0x00020000
    user, group = os.getuid(), os.getgid()
    if libc.unshare(new_mounts | (new_user if user else 0)):
        return False
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    for words in (
        ["mount", "--make-rprivate", "/"],
        ["mount", "-t", "tmpfs", "-o", "size=12m,nr_inodes=800", "tmpfs", str(place)],
    ):
        if subprocess.run(words, capture_output=True).returncode:
            return False
    return True


def _verdict(training: Disturbed, whole: str, wrong: str) -> dict[str, Any]:
    """What a row says of the end; `wrong` is what kept the last start from completing."""
    problems = [wrong]
    if not wrong:
        problems += [same(whole, training.run_dir, training.chain), training.left_behind()]
    return {
        "complete": not wrong,
        "digest": None if wrong else digest(RunDir(training.run_dir)) == digest(RunDir(whole)),
        "codes": training.ends, "peak_messages": training.peak_messages,
        "most_copies": training.most_copies,
        "wrong": "; ".join(filter(None, [*problems, training.odd()])),
    }  # fmt: skip


def _facts(plan: Plan) -> dict[str, Any]:
    """What a row says of a plan, its faults left out."""
    facts: dict[str, Any] = {
        "mode": plan.mode, "trained": " ".join(plan.trained), "others": " ".join(plan.others),
        "has_disk": plan.has_disk, "first": [*plan.first[0], plan.first[1]], "left": plan.left,
        "last": [*plan.last[0], plan.last[1]], "once_more": plan.once_more,
        "strangers": plan.strangers,
    }  # fmt: skip
    lives = {name: life_facts(life) for name, life in plan.first_lives.items()}
    return {**facts, **({"first_lives": lives} if lives else {})}


def _keep(target: Path, place: str, training: Training) -> None:
    """Copy what a training that went wrong has left."""
    target.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(training.run_dir, target / "run", dirs_exist_ok=True)
        for path in Path().glob(f"{place}-*"):
            shutil.copy(path, target)
    except OSError as error:
        (target / "incomplete").write_text(str(error))
