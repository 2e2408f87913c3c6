"""SIGSTOP of the last piece: the piece beside it says so, the others repeat its words.

The piece below the suspended one ends with 72 and names it; those further down end with 71 and its
words. Then the suspended one wakes up, or is killed, and the same command completes the training.
"""

from __future__ import annotations

import random
import signal
import time
from typing import Any

from dualnet.errors import NeighbourDied, NeighbourHung
from scripts.fault_campaign.lab import Lab
from scripts.fault_campaign.ledger import Ledger
from scripts.fault_campaign.training import Training

__all__ = ["hang_last", "run"]

#: A piece that shows no progress for so long hangs; more than one takes to be built here.
_HANG_S = 6.0
_TIMERS = (f"exchange.hang_timeout_s={_HANG_S}", "exchange.restart_grace_s=1")


def run(lab: Lab, ledger: Ledger, seed: int, count: int) -> None:
    """Suspend the last piece of `count` trainings; a row for each.

    Args:
        lab, ledger: where, and where rows go.
        seed: of moments.
        count: how many.
    """
    variants = lab.chain.variants()
    with ledger.progress(count, f"hangs ({lab.provider})", len(ledger.rows)) as bar:
        while len(ledger.rows) < count:
            number = len(ledger.rows)
            chance = random.Random(f"{seed}/hangs/{number}")
            variant = variants[number % len(variants)]
            lab.whole(variant.trained)
            began_s = time.monotonic()
            with lab.training(f"hangs{number}", variant.settings) as training:
                training.start_all(None, *_TIMERS)
                found, wrong = hang_last(training, chance)
                if not wrong:
                    _go_on(training, is_woken=number % 2 == 0)
                    wrong = lab.verdict(training, variant.trained)
            ledger.add({
                "provider": lab.provider, **variant.facts, **found, "woken": number % 2 == 0,
                "took_s": round(time.monotonic() - began_s, 1), "wrong": wrong,
            })  # fmt: skip
            bar.update()
            if not wrong:
                lab.remove(training)


def hang_last(training: Training, chance: random.Random) -> tuple[dict[str, Any], str]:
    """Suspend the last piece while it trains, and see how the others end.

    Returns:
        Facts for a row, and what is wrong; "" if nothing is.
    """
    *below, last = training.chain.names
    target = chance.randrange(1, 40)
    while not training.all_have_reached(target) and training.running(last):
        time.sleep(0.002)
    if not training.running(last):
        return {"outcome": "was faster"}, training.all_errors()
    began_s = time.monotonic()
    training.signal(last, signal.SIGSTOP)
    codes = {piece: training.wait(piece) for piece in below}
    said = {piece: training.errors(piece) for piece in below}
    facts = {"reached": target, "codes": codes, "noticed_s": round(time.monotonic() - began_s, 1)}
    # The piece beside it, and then one after the other down to the data.
    expected = dict.fromkeys(below[:-1], NeighbourDied.exit_code)
    expected[below[-1]] = NeighbourHung.exit_code
    words = f"{last} is alive but has made no progress"
    mute = [piece for piece in below if words not in said[piece]]
    if codes != expected or mute:
        return facts, f"exit codes {codes}, expected {expected}: {' | '.join(said.values())}"
    return facts, ""


def _go_on(training: Training, is_woken: bool) -> None:
    """Give the same command again to what has ended; the suspended piece wakes up, or is killed."""
    *below, last = training.chain.names
    reached = training.reached(last)
    if not is_woken:
        training.kill(last)
    for piece in below:
        training.start(piece)
    if is_woken:
        training.signal(last, signal.SIGCONT)
        # It waits `restart_grace_s` for the others to be there again, and may end over it.
        while training.running(last) and training.reached(last) <= reached:
            time.sleep(0.01)
    if not training.running(last) and training.codes[last] != 0:
        training.start(last)
