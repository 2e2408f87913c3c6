"""SIGKILL at random moments: one half or both, in the beginning, in a recovery, in the training."""

from __future__ import annotations

import random
import re
import time
from datetime import datetime
from typing import Any

from scripts.fault_campaign.halves import COUPLINGS, ROLES, Lab, Training
from scripts.fault_campaign.ledger import Ledger

__all__ = ["run"]

#: Kills in one training; more would not let it end.
_KILLS = 6
#: So long lives a half at most before its next kill. A quarter of the kills come early: while it
#: starts, or does again what it has done.
_LONGEST_S, _EARLY_S = 1.2, 0.3


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
    with ledger.progress(count, f"kills ({lab.provider})", done) as bar:
        while done < count:
            row = _one(lab, seed, number, min(_KILLS, count - done))
            ledger.add(row)
            done += row["kills"]
            number += 1
            bar.update(row["kills"])


def _one(lab: Lab, seed: int, number: int, kills: int) -> dict[str, Any]:
    """One training that is killed again and again, and what became of it."""
    chance = random.Random(f"{seed}/kills/{lab.provider}/{number}")
    coupling = list(COUPLINGS)[number % len(COUPLINGS)]
    lab.whole(COUPLINGS[coupling])
    done: list[dict[str, Any]] = []
    with lab.training(f"kills{number}", COUPLINGS[coupling]) as training:
        for role in ROLES:
            training.start(role)
        for _ in range(kills):
            victims = chance.choices([["net1"], ["net2"], ["net1", "net2"]], [3, 3, 2])[0]
            life_s = chance.uniform(0.0, _EARLY_S if chance.random() < 1 / 4 else _LONGEST_S)
            time.sleep(life_s)
            victims = [role for role in victims if training.running(role)]
            if not victims:
                break
            phases = {role: training.phase(role) for role in victims}
            reached = {role: training.reached(role) for role in victims}
            codes = [training.kill(role) for role in victims]
            if all(code == 0 for code in codes):
                break  # they were faster
            done.append(
                {"victims": victims, "life_s": round(life_s, 4), "phases": phases,
                 "reached": reached}
            )  # fmt: skip
            chance.shuffle(victims)
            for role in victims:
                training.start(role)
        wrong = lab.verdict(training)
        row = {
            "provider": lab.provider, "coupling": coupling, "training": number, "seed": seed,
            "kills": len(done), "signals": sum(len(kill["victims"]) for kill in done),
            "wrong": wrong, "details": done, **_costs(training),
        }  # fmt: skip
    if not wrong:
        lab.remove(training)
    return row


def _costs(training: Training) -> dict[str, Any]:
    """What the restarts of a training cost, from its logs."""
    again, recovery_s, replayed = [], [], 0
    for role in ROLES:
        text = training.log(role)
        replayed += sum(map(int, re.findall(r"(\d+) messages sent again, equal", text)))
        lives = re.split(rf"(?=^I.* dualnet {role} on )", text, flags=re.M)
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
