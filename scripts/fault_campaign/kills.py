"""SIGKILL at random moments: one piece or several, as they start, recover, train and end."""

from __future__ import annotations

import random
import re
import time
from datetime import datetime
from typing import Any

from scripts.fault_campaign.lab import Lab
from scripts.fault_campaign.ledger import Ledger
from scripts.fault_campaign.training import Training

__all__ = ["run"]

#: Kills in one training; more would not let it end.
_KILLS = 6
#: Half of the kills first wait for an iteration, at most so many after the last one reached; then,
#: and in the other half, they wait for a time, and of these half a short one: for a piece that
#: starts or replays.
_MOST_ITERATIONS, _LONGEST_S, _EARLY_S = 12, 1.2, 0.3
#: How long a kill waits for its iteration.
_LIMIT_S = 20.0


def run(lab: Lab, ledger: Ledger, seed: int, count: int) -> None:
    """Kill until `count` kills are counted; a row for each training.

    Args:
        lab: where.
        ledger: rows so far, and where new ones go.
        seed: of victims and moments.
        count: kills wanted of this provider.
    """
    done = sum(row["kills"] for row in ledger.rows if row["provider"] == lab.provider)
    number = sum(row["provider"] == lab.provider for row in ledger.rows)
    with ledger.progress(
        count, f"kills of {lab.chain.pieces} pieces ({lab.provider})", done
    ) as bar:
        while done < count:
            row = _one(lab, seed, number, min(_KILLS, count - done))
            ledger.add(row)
            done += row["kills"]
            number += 1
            bar.update(row["kills"])


def _one(lab: Lab, seed: int, number: int, kills: int) -> dict[str, Any]:
    """One training that is killed again and again, and what became of it."""
    chance = random.Random(f"{seed}/kills/{lab.provider}/{number}")
    variants = lab.chain.variants()
    variant = variants[number % len(variants)]
    lab.whole(variant.trained)
    done: list[dict[str, Any]] = []
    began_s = time.monotonic()
    with lab.training(f"kills{number}", variant.settings) as training:
        training.start_all()
        for _ in range(kills):
            victims = _draw_victims(lab.chain.names, chance)
            started_s = time.monotonic()
            if chance.random() < 1 / 2:
                _wait_for_iteration(training, victims[0], chance.randint(1, _MOST_ITERATIONS))
            time.sleep(chance.uniform(0.0, chance.choice((_EARLY_S, _LONGEST_S))))
            life_s = time.monotonic() - started_s
            victims = [piece for piece in victims if training.running(piece)]
            if not victims:
                break
            phases = {piece: training.phase(piece) for piece in victims}
            reached = {piece: training.reached(piece) for piece in victims}
            codes = [training.kill(piece) for piece in victims]
            if all(code == 0 for code in codes):
                break  # they were faster
            done.append(
                {"victims": victims, "life_s": round(life_s, 4), "phases": phases,
                 "reached": reached}
            )  # fmt: skip
            chance.shuffle(victims)
            for piece in victims:
                training.start(piece)
        wrong = lab.verdict(training, variant.trained)
        row = {
            "provider": lab.provider, **variant.facts, "training": number, "seed": seed,
            "kills": len(done), "signals": sum(len(kill["victims"]) for kill in done),
            "took_s": round(time.monotonic() - began_s, 1),
            "wrong": wrong, "details": done, **_costs(training),
        }  # fmt: skip
    if not wrong:
        lab.remove(training)
    return row


def _wait_for_iteration(training: Training, piece: str, further: int) -> None:
    """Wait until a piece is so many iterations beyond where it has been."""
    target = training.reached(piece) + further
    limit_s = time.monotonic() + _LIMIT_S
    while training.running(piece) and training.reached(piece) < target:
        if time.monotonic() > limit_s:
            return
        time.sleep(0.005)


def _draw_victims(names: tuple[str, ...], chance: random.Random) -> list[str]:
    """One piece three times of four, else two or more."""
    if chance.random() < 3 / 4:
        return [chance.choice(names)]
    return chance.sample(names, chance.randint(2, len(names)))


def _costs(training: Training) -> dict[str, Any]:
    """What the restarts of a training cost, from its logs."""
    again, recovery_s, replayed = [], [], 0
    for piece in training.chain.names:
        text = training.log(piece)
        replayed += sum(map(int, re.findall(r"(\d+) messages sent again, equal", text)))
        lives = re.split(rf"(?=^I.* dualnet {piece} on )", text, flags=re.M)
        reached = -1
        for life in lives:
            shown = [int(number) for number in re.findall(r"\] Iteration (\d+) \(", life)]
            if reached >= 0 and shown:
                again.append(sum(1 for number in set(shown) if number <= reached))
                recovery_s += _time_to(life, reached)
            reached = max([reached, *shown])
    return {"repeated_iterations": again, "recovery_s": recovery_s, "replayed_messages": replayed}


def _time_to(life: str, reached: int) -> list[float]:
    """Seconds from the beginning of a life to the first iteration beyond `reached`."""
    lines = re.findall(r"^I(\d{4} \d\d:\d\d:\d\d\.\d{6}).*?\] (.*)$", life, re.M)
    for stamp, text in lines:
        found = re.match(r"Iteration (\d+) \(", text)
        if found and int(found.group(1)) > reached:
            begun, now = (_clock(value) for value in (lines[0][0], stamp))
            return [round((now - begun).total_seconds(), 4)]
    return []


def _clock(stamp: str) -> datetime:
    return datetime.strptime(f"2000{stamp}", "%Y%m%d %H:%M:%S.%f")
