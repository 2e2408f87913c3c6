"""Any file of a run, its data or its inputs is damaged or replaced; then commands run on it.

A bit is flipped, a piece cut off, put in, or taken from another file, a number made absurd; or a
directory, a FIFO, a device or nothing stands where the file was. Every command then ends in time,
with an exit code of its own and one line, and within its memory. What trains to the end trains
what it would have trained; what prints a digest prints the right one.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable, Optional

from dualnet.rundir import RunDir
from dualnet.training.outcome.digest import digest
from scripts.fault_campaign.arming import arm, main
from scripts.fault_campaign.chain import Chain
from scripts.fault_campaign.crowd import side_by_side
from scripts.fault_campaign.draw import Life
from scripts.fault_campaign.lab import ROOT, Lab
from scripts.fault_campaign.ledger import Ledger
from scripts.fault_campaign.training import Training

__all__ = ["DAMAGES", "run_damage"]

_SETTINGS = (
    "train.max_iter=20", "train.snapshot=5", "train.test_interval=6", "train.test_iter=1",
    "coupling.target=updated", "coupling.tie=every", "update.rule=manual",
    "update.learning_rate=0.01",
)  # fmt: skip
#: So that a piece that is alone does not wait long.
_TIMERS = ("exchange.partner_timeout_s=8", "exchange.restart_grace_s=2", "exchange.dead_after_s=4",
           "exchange.storage_timeout_s=1", "exchange.hang_timeout_s=8")  # fmt: skip
#: What is damaged: a run that was killed in the middle, a complete one, or a new single one.
BASES = ("killed", "complete", "inputs")
_LIMIT_S = 60.0
_MEMORY = Life(memory_mib=3 << 10)
#: Not 77: what a file says may not take all memory.
_ANSWERS = {0, 1, 2, 70, 71, 72, 73, 74, 75, 76}
_BROKEN = ("Traceback (most", "Exception ignored", "Fatal Python error", "terminate called")
_ABSURD = (b"1e999", b"-1", b"99999999999999999999", b"NaN", b"null", b"[[[]]]", b'"\xff"', b"0")


def _flip(data: bytes, chance: random.Random, other: bytes) -> bytes:
    place = chance.randrange(max(1, len(data)))
    return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]


def _cut(data: bytes, chance: random.Random, other: bytes) -> bytes:
    return data[: chance.choice((0, 1, len(data) // 2, max(0, len(data) - 1)))]


def _grow(data: bytes, chance: random.Random, other: bytes) -> bytes:
    place = chance.choice((0, len(data) // 2, len(data)))
    return data[:place] + chance.randbytes(chance.choice((1, 100, 1 << 20))) + data[place:]


def _splice(data: bytes, chance: random.Random, other: bytes) -> bytes:
    place = chance.randrange(max(1, min(len(data), len(other))))
    return data[:place] + other[place:]


def _number(data: bytes, chance: random.Random, other: bytes) -> bytes:
    places = [found.span() for found in re.finditer(rb"\d+", data[: 1 << 16])]
    if not places:
        return data + chance.choice(_ABSURD)
    begin, end = chance.choice(places)
    return data[:begin] + chance.choice(_ABSURD) + data[end:]


#: Name to what it makes of a file's bytes, given those of another file.
DAMAGES: dict[str, Callable[[bytes, random.Random, bytes], bytes]] = {
    "a bit flipped": _flip,
    "cut off": _cut,
    "grown": _grow,
    "spliced with another file": _splice,
    "an absurd number": _number,
}
#: What may stand in a file's place.
REPLACED = ("a directory", "a FIFO", "/dev/zero", "a link to nothing", "nothing")


def run_damage(lab: Lab, ledger: Ledger, seed: int, count: int, jobs: int = 3) -> None:
    """Damage files and run commands on them; a row for each.

    Args:
        lab, ledger: where, and where rows go.
        seed: of files and damages.
        count: how many.
        jobs: at a time.
    """
    bases = {"complete": lab.whole(_SETTINGS), "killed": _killed(lab)}
    whole = digest(RunDir(bases["complete"]))
    known = {row["injection"] for row in ledger.rows if row["seed"] == seed}
    todo = [number for number in range(count) if number not in known]
    with ledger.progress(count, "damage", count - len(todo)) as bar:
        meet = partial(_meet, lab, bases, whole, seed)
        for number, row in side_by_side(todo, jobs, meet):
            ledger.add({"injection": number, "seed": seed, **row})
            bar.update()


def _killed(lab: Lab) -> str:
    """A run whose pieces were killed between two checkpoints."""
    with lab.training("killed", _SETTINGS) as training:
        training.start_all()
        while not training.all_have_reached(12) and training.running("net1"):
            time.sleep(0.002)
        for piece in lab.chain.names:
            training.kill(piece)
    return "killed"


def _meet(lab: Lab, bases: dict[str, str], whole: str, seed: int, number: int) -> dict[str, Any]:
    """One damage, and all commands that run on it; their row."""
    chance = random.Random(f"{seed}/damage/{number}")
    base = BASES[number % len(BASES)]
    place = Path(f"damage{number}").absolute()
    place.mkdir()
    if base == "inputs":
        _copy_inputs(place)
    else:
        shutil.copytree(bases[base], place / "run")
    name, what = _damage(place, chance)
    os.chdir(place)
    if base != "inputs":
        for link in ("configs", "prototxt", "data", "nets"):
            os.symlink(lab.folder / link, link)
    visit = _Visit(lab.chain)
    if base == "inputs":
        visit.command("single", "single", "configs/digits.yaml", "--run-dir", "run", "--set",
                      "train.max_iter=2", "--set", "train.test_iter=1")  # fmt: skip
    else:
        _visit_run(visit, base, whole)
    os.chdir(lab.folder)
    if not visit.problems:
        shutil.rmtree(place)
    return {
        "base": base, "file": re.sub(r"\d+", "N", name), "damage": what, "codes": visit.codes,
        "said": visit.last[-200:], "wrong": "; ".join(visit.problems)[:2000],
    }  # fmt: skip


def _visit_run(visit: _Visit, base: str, whole: str) -> None:
    visit.command("status", "status", "run", "--json")
    found = visit.command("digest", "digest", "run")
    if base == "complete" and found is not None and found != whole:
        visit.problems.append(f"digest printed {found[:80]!r} of damaged weights")
    visit.all_pieces()
    if all(visit.codes[piece] == 0 for piece in visit.chain.names):
        after = visit.command("digest after", "digest", "run")
        # A complete run is not written again; what is damaged there is refused by name.
        if after != whole and not (after is None and base == "complete"):
            visit.problems.append("all pieces are done, and the digest differs or is refused")
        visit.command("evaluate", "evaluate", "run", "--batches", "1")
    visit.command("status after", "status", "run")


class _Visit:
    """Commands in the working directory, one after another.

    Args:
        chain: the pieces of its runs.

    Attributes:
        codes: exit code of each; None of one that did not end in time.
        problems: what should not be.
        last: what the last one that did not end with 0 has said.
    """

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.codes: dict[str, Optional[int]] = {}
        self.problems: list[str] = []
        self.last = ""

    def command(self, name: str, *words: str) -> Optional[str]:
        """Run one; what it printed if it ended with 0."""
        training = Training("visit", (), self.chain)
        training.output = f"{name.replace(' ', '-')}"
        training.pids[name] = training.fork(
            "out", partial(main, list(words)), partial(arm, _MEMORY)
        )
        self._judge(training, name, "out")
        return self._text(training, "out").strip() if self.codes[name] == 0 else None

    def all_pieces(self) -> None:
        """Start them."""
        training = Training("run", (*_SETTINGS, *_TIMERS), self.chain)
        training.output = "pieces"
        training.start_all(partial(arm, _MEMORY))
        for piece in self.chain.names:
            self._judge(training, piece, f"{piece}.err")

    def _judge(self, training: Training, name: str, output: str) -> None:
        code = self.codes[name] = training.wait(name, _LIMIT_S)
        if code is None:
            training.signal(name, signal.SIGUSR2)
            time.sleep(0.5)
            training.kill(name)
        text = self._text(training, output)
        if code is None or code not in _ANSWERS:
            self.problems.append(f"{name} ended with {code}: {text[-600:]}")
        broken = [word for word in _BROKEN if word in text]
        if broken:
            self.problems.append(f"{name}: {text[text.index(broken[0]) :][-1200:]}")
        elif code and not re.search(r"^dualnet: .", text, re.M):
            self.problems.append(f"{name} ended with {code} and does not say why: {text[-200:]}")
        if code:
            self.last = text.strip().splitlines()[-1] if text.strip() else ""

    @staticmethod
    def _text(training: Training, output: str) -> str:
        return Path(f"{training.output}-{output}").read_text(errors="replace")


def _copy_inputs(place: Path) -> None:
    """What a single training reads, without links."""
    for name in ("configs/digits.yaml", "prototxt/digits/single_solver.prototxt",
                 "prototxt/digits/single_train_test.prototxt"):  # fmt: skip
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, place / name)
    shutil.copytree("data/digits", place / "data" / "digits")


def _damage(place: Path, chance: random.Random) -> tuple[str, str]:
    """Damage one file below `place`; its name and what was done."""
    files = sorted(path for path in place.rglob("*") if path.is_file())
    # Each kind of file has the same share, however many there are of it.
    kinds = sorted({re.sub(r"\d+", "N", path.name) for path in files})
    kind = chance.choice(kinds)
    path = chance.choice([path for path in files if re.sub(r"\d+", "N", path.name) == kind])
    name = str(path.relative_to(place))
    if chance.random() < 0.25:
        what = chance.choice(REPLACED)
        _replace(path, what)
        return name, what
    what = chance.choice(sorted(DAMAGES))
    data = path.read_bytes()
    path.write_bytes(
        DAMAGES[what](data, chance, chance.choice(files).read_bytes()) if data else b"x"
    )
    return name, what


def _replace(path: Path, what: str) -> None:
    path.unlink()
    if what == "a directory":
        path.mkdir()
    elif what == "a FIFO":
        os.mkfifo(path)
    elif what == "/dev/zero":
        path.symlink_to("/dev/zero")
    elif what == "a link to nothing":
        path.symlink_to("nowhere")
