"""What a training of the part `liveness` is, drawn by its number: options, faults, the last start.

Everything is drawn before anything runs, so that `--seed S --only N` has the same training again;
which instant a moment hits depends on the machine.
"""

from __future__ import annotations

import importlib.util
import random
from dataclasses import dataclass, field
from typing import Any, Optional

from scripts.fault_campaign.chain import Chain

__all__ = ["Life", "Plan", "Round", "draw"]

#: Sets of options that decide what is trained; the undisturbed training of each is made once.
SETS = 60
#: Of twenty trainings in turn, how the pieces are started: forked from the campaign, as
#: commands of their own, or by `dualnet train`.
MODES = ("commands", *("forked",) * 9, "train", *("forked",) * 9)
#: How long a piece waits for a neighbour to appear: one that imports everything takes its time
#: where many do so at once.
_IMPORTS_S = ((15, 30), (60, 120))
#: Functions of a training's last moments: module, class (or none), name.
LAST_POINTS = (
    ("dualnet.training.loop.session", "Session", "finish"),
    ("dualnet.training.loop.session", "Session", "snapshot"),
    ("dualnet.training.checkpoint.commit", "", "mark_complete"),
    ("dualnet.training.start.traffic", "", "remove_when_over"),
    ("dualnet.report.log", "CaffeLog", "close"),
    ("dualnet.exchange.run.membership", "Membership", "close"),
    ("dualnet.exchange.files.end", "End", "disconnect"),
)


@dataclass(frozen=True)
class Life:
    """What is done to a piece before its command begins.

    Attributes:
        point: it dies before or after this function: module, class, function, side, which call.
        memory_mib: it may have so much more address space than it has now.
        files: it may have so many more files open.
    """

    point: Optional[tuple[str, str, str, str, int]] = None
    memory_mib: Optional[int] = None
    files: Optional[int] = None


@dataclass(frozen=True)
class Round:
    """One fault, and what is started again after it.

    Attributes:
        when: `time`: now; `reached`: `piece` is `number` iterations further; `recovery`: it does
            again what it has done; `ending`: it has made its last iteration. Then `after_s` more.
        signal: KILL, TERM, INT, USR1, HUP, or STOP, which is followed by CONT after `stopped_s`.
        victims: pieces; `parent` is `dualnet train`, and `group` it and all pieces.
        fill_s: the disk is full for so long, where the run has one of its own; 0: it is not.
        pause_s: before what has ended is started again.
        again: what is started: the `victims`, or what has `ended`, or `all`, whether they
            run or not, or `none`.
        order: in which the pieces are started, `apart_s` after each other.
        lives: what is done to the new processes, by piece.
    """

    when: str
    piece: str
    number: int
    after_s: float
    signal: str
    victims: tuple[str, ...]
    stopped_s: float
    fill_s: float
    pause_s: float
    again: str
    order: tuple[str, ...]
    apart_s: float
    lives: dict[str, Life]


@dataclass(frozen=True)
class Plan:
    """One training.

    Attributes:
        number: of the training.
        mode: of MODES.
        trained: `key=value` that decide what is trained.
        others: `key=value` that must not: timers, carrier, digest, …
        has_disk: a small file system of its own.
        first: order, and time between the first starts.
        first_lives: what is done to the first processes.
        rounds: the faults.
        left: what becomes of those that still run when the faults end: `killed`, `stopped`,
            `waited` for, or `kept` if the others may still come.
        last: order, and time between the last starts.
        once_more: the command is given again when all is complete.
        strangers: silent connections to the port of carrier tcp, to the end of the training.
    """

    number: int
    mode: str
    trained: tuple[str, ...]
    others: tuple[str, ...]
    has_disk: bool
    first: tuple[tuple[str, ...], float]
    rounds: tuple[Round, ...]
    left: str
    last: tuple[tuple[str, ...], float]
    once_more: bool
    strangers: int = 0
    first_lives: dict[str, Life] = field(default_factory=dict)

    def other(self, key: str) -> float:
        """The number that `others` give a key."""
        return float(next(o.partition("=")[2] for o in self.others if o.startswith(f"{key}=")))


def draw(seed: int, number: int, chain: Chain) -> Plan:
    """The plan of a training.

    Args:
        seed: of the campaign.
        number: of the training; it alone tells plans of one seed and chain apart.
        chain: the pieces.
    """
    chance = random.Random(f"{seed}/liveness/{number}")
    mode = MODES[number % len(MODES)]
    # 7 and 20 share no factor: every set meets every mode.
    which = random.Random(f"{seed}/liveness/set/{number * 7 % SETS}")
    trained = _trained(which, chain)
    length = next(int(t.partition("=")[2]) for t in trained if t.startswith("train.max_iter="))
    has_disk = mode == "forked" and chance.random() < 0.12
    rounds, others = _rounds(chance, chain, mode, length, has_disk), _others(chance, mode)
    is_crowded = "exchange.carrier=tcp" in others and chance.random() < 0.3
    return Plan(
        number=number, mode=mode, trained=trained, others=others, has_disk=has_disk,
        first=(_order(chance, chain), _apart(chance)), rounds=rounds,
        left=chance.choices(("killed", "stopped", "waited", "kept"), (4, 2, 2, 3))[0],
        last=(_order(chance, chain), _apart(chance)), once_more=chance.random() < 0.2,
        strangers=chance.choice((4, 16, 40)) if is_crowded else 0,
        first_lives=_lives(chance, chain, mode),
    )  # fmt: skip


def _trained(chance: random.Random, chain: Chain) -> tuple[str, ...]:
    values: dict[str, Any] = {
        "seed": chance.randrange(1, 10**6),
        "train.max_iter": chance.randint(12, 40),
        "train.snapshot": chance.randint(3, 10),
        "train.test_interval": chance.choice((0, 5, 13)),
        "train.test_iter": chance.randint(1, 2),
        "train.local_steps": chance.choice((1, 1, 1, 2)),
    }
    schedule = chance.choices(("alternating", "overlapped", "pipelined"), (3, 5, 3))[0]
    if schedule == "pipelined":
        values["train.schedule"] = schedule
        values["train.micro_batches"] = chance.choice((2, 4))
        values["train.micro_batch_order"] = chance.choice(("1f1b", "gpipe"))
    if schedule == "overlapped":
        values["train.schedule"] = "overlapped"
        values["train.staleness"] = chance.choice((1, 1, 2, 3, 4))
        values["train.stale_activations"] = chance.choice(("keep", "recompute"))
        values["train.stale_momentum"] = chance.choice(("interleaved", "solver"))
    targets = ["gradient"] * 4 + ["prox", "activation"] * 3 + ["updated", "backprop", "frozen"]
    if schedule == "alternating":
        targets.append("admm")
    if schedule == "pipelined":
        targets.remove("updated")
    target = chance.choice(targets)
    if target in ("prox", "admm"):  # of the last cut alone
        values["coupling.target"] = "gradient"
        values[f"cut{chain.pieces - 1}.target"] = target
    else:
        values["coupling.target"] = target
    ties = {"activation": ("never", "start"), "backprop": ("never", "start"),
            "frozen": ("never", "start")}  # fmt: skip
    values["coupling.tie"] = chance.choice(ties.get(target, ("never", "start", "every")))
    values["coupling.fidelity_interval"] = chance.choice((0, 0, 7))
    values["update.rule"] = chance.choice(("solver", "manual"))
    values["update.learning_rate"] = chance.choice((0.003, 0.01))
    if target != "admm" and chance.random() < 0.5:
        dtypes = ["float16", "bfloat16"] + ["int8"] * (target != "prox")
        values["exchange.dtype"] = chance.choice(dtypes)
        if chance.random() < 0.3:
            values["exchange.dtype_up"] = "float32"
        values["exchange.error_feedback"] = chance.choice(("true", "false"))
    if chance.random() < 0.4:
        values["convergence.window"] = chance.randint(2, 5)
        values["convergence.tolerance"] = chance.choice((0.1, 0.3, 0.9))
    return tuple(f"{key}={value}" for key, value in values.items())


def _others(chance: random.Random, mode: str) -> tuple[str, ...]:
    has_blake3 = importlib.util.find_spec("blake3") is not None
    values: dict[str, Any] = {
        "exchange.carrier": chance.choices(("files", "tcp", "torch"), (9, 8, 4))[0],
        "exchange.digest": chance.choice(("sha256", "blake3" if has_blake3 else "sha256")),
        "exchange.verify": chance.choice(("true", "true", "true", "false")),
        "exchange.filesystem": chance.choice(("auto", "auto", "local", "nfs")),
        "exchange.poll_cap_s": chance.choice((0, 0, 0.005, 0.1)),
        "exchange.dead_after_s": round(chance.uniform(2, 8), 1),
        "exchange.restart_grace_s": chance.choice(
            (0, round(chance.uniform(0.2, 2), 1), round(chance.uniform(2, 9), 1))
        ),
        "exchange.hang_timeout_s": round(chance.uniform(6, 20), 1),
        "exchange.partner_timeout_s": round(chance.uniform(*_IMPORTS_S[mode != "forked"]), 1),
        "exchange.storage_timeout_s": chance.choice((0.5, 3, 30)),
        "train.stop_within_s": chance.choice((0.1, 2, 20)),
        "train.keep": chance.choice((2, 2, 3, 0)),
    }
    return tuple(f"{key}={value}" for key, value in values.items())


def _rounds(
    chance: random.Random, chain: Chain, mode: str, length: int, has_disk: bool
) -> tuple[Round, ...]:
    count = chance.randint(2, 7) if mode == "forked" else chance.randint(1, 3)
    return tuple(_round(chance, chain, mode, length, has_disk, place > 0) for place in range(count))


def _round(
    chance: random.Random, chain: Chain, mode: str, length: int, has_disk: bool, is_later: bool
) -> Round:
    is_real = mode != "forked"
    when = chance.choices(("time", "reached", "ending", "recovery"), (3, 4, 3, 3 * is_later))[0]
    longest_s = chance.choice((0.1, 0.4, 0.8)) * (6 if is_real else 1)
    after_s = {
        "time": chance.uniform(0, longest_s),
        "reached": chance.choice((0, chance.uniform(0, 0.05))),
        "recovery": chance.choice((0, chance.uniform(0, 0.1))),
        "ending": chance.choice((0, chance.uniform(0, 0.05), chance.uniform(0, 0.5))),
    }[when]
    signal = chance.choices(("KILL", "TERM", "INT", "USR1", "HUP", "STOP"), (10, 3, 2, 2, 1, 3))[0]
    names = chain.names
    several = tuple(chance.sample(names, chance.randint(2, len(names))))
    victims: tuple[str, ...] = chance.choice((*((name,) for name in names), several))
    if mode == "train":
        victims = (chance.choice(("parent", "parent", "group", *names)),)
    pause_s = chance.choices(
        (0.0, chance.uniform(0, 0.4), chance.uniform(0.4, 3), chance.uniform(3, 11)), (5, 5, 3, 2)
    )[0]
    return Round(
        when=when, piece=chance.choice(names), number=chance.randrange(1, length // 3),
        after_s=round(after_s, 3), signal=signal, victims=victims,
        stopped_s=round(chance.choice((chance.uniform(0, 1), chance.uniform(1, 9))), 2),
        fill_s=round(chance.uniform(0.1, 2.5), 2) if has_disk and chance.random() < 0.6 else 0.0,
        pause_s=round(pause_s, 2),
        again=chance.choices(("victims", "ended", "all", "none"), (4, 5, 1, 1))[0],
        order=_order(chance, chain), apart_s=_apart(chance),
        lives=_lives(chance, chain, mode),
    )  # fmt: skip


def _lives(chance: random.Random, chain: Chain, mode: str) -> dict[str, Life]:
    if mode != "forked":
        return {}
    found: dict[str, Life] = {}
    for piece in chain.names:
        kind = chance.choices(("", "point", "memory", "files"), (14, 4, 1, 1))[0]
        if kind == "point":
            side = chance.choice(("before", "after"))
            point = (*chance.choice(LAST_POINTS), side, chance.choice((1, 1, 1, 2)))
            found[piece] = Life(point=point)
        elif kind == "memory":
            found[piece] = Life(memory_mib=chance.choice((0, 4, 16, 40, 100)))
        elif kind == "files":
            found[piece] = Life(files=chance.randrange(20))
    return found


def _order(chance: random.Random, chain: Chain) -> tuple[str, ...]:
    return tuple(chance.sample(chain.names, chain.pieces))


def _apart(chance: random.Random) -> float:
    return round(chance.choice((0.0, chance.uniform(0, 0.5), chance.uniform(0.5, 3))), 2)
