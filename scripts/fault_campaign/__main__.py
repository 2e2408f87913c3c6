"""`python -m scripts.fault_campaign PART…`: see scripts/fault_campaign.sh."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Callable, Optional

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from scripts.fault_campaign import (
    calls,
    cost,
    damage,
    exchange,
    hangs,
    kills,
    liveness,
    moments,
    outside,
    report,
    zombies,
)
from scripts.fault_campaign.chain import LONGEST
from scripts.fault_campaign.lab import ROOT, Lab
from scripts.fault_campaign.ledger import Ledger

Run = Callable[[Any, Ledger, int, int], None]

#: Parts that train, and what they take by default; see each for the meaning of the number.
TRAINING: dict[str, tuple[Run, int]] = {
    "kills": (kills.run, 1000),
    "points": (moments.run_points, 2),
    "calls": (calls.run_kills, 0),
    "strace": (outside.run_strace, 12),
    "errors": (calls.run_errors, 2),
    "stops": (moments.run_stops, 100),
    "zombies": (zombies.run_zombies, 60),
    "hangs": (hangs.run, 12),
    "full": (outside.run_full, 12),
    "liveness": (liveness.run, 500),
    "damage": (damage.run_damage, 300),
}
#: Parts that only exchange.
EXCHANGE: dict[str, tuple[Run, int]] = {
    "cases": (exchange.run_cases, 100),
    "copies": (exchange.run_copies, 500),
    "nfs": (exchange.run_nfs, 200),
    "cost": (cost.run_cost, 60),
}


def main() -> int:
    """Run parts of the campaign; exit code 1 if anything went wrong."""
    parser = argparse.ArgumentParser(prog="fault_campaign", description=__doc__)
    parser.add_argument(
        "parts", nargs="+", choices=[*TRAINING, *EXCHANGE, "report"], metavar="PART"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "reliability")
    parser.add_argument("--scratch", type=Path, help="folder for the trainings")
    parser.add_argument("--seed", type=int, default=1701)
    parser.add_argument(
        "--pieces",
        type=int,
        default=3,
        choices=range(2, LONGEST + 1),
        help="of the chain (default 3)",
    )
    parser.add_argument("--count", type=int, help="how many (default: the campaign's)")
    group = parser.add_argument_group("part liveness")
    group.add_argument("--only", type=int, action="append", help="this training alone; repeatable")
    group.add_argument("--jobs", type=int, default=3, help="trainings at a time (default 3)")
    group.add_argument("--keep", type=Path, help="folder for the files of those that went wrong")
    group.add_argument("--again", action="store_true", help="repeat those that went wrong")
    options = parser.parse_args()
    output = options.output.resolve()
    wrong = 0
    lab: Optional[Lab] = None
    with tempfile.TemporaryDirectory(dir=options.scratch, prefix="dualnet-faults-") as scratch:
        for part in options.parts:
            if part == "report":
                print(report.write(output, options.seed))
                continue
            run, count = {**TRAINING, **EXCHANGE}[part]
            pieces = options.pieces if part in TRAINING else None
            ledger = Ledger(output / f"{part}.jsonl", pieces)
            if part == "damage":
                run = partial(run, jobs=options.jobs)
            if part == "liveness":
                keep = options.keep.resolve() if options.keep else None
                run = partial(run, only=options.only, jobs=options.jobs, keep=keep)
            if options.again:
                ledger.drop(lambda row: bool(row["wrong"]))
            if part in TRAINING:
                lab = place = lab or Lab(Path(scratch), options.pieces)
            else:
                place = Path(scratch)
            run(place, ledger, options.seed, count if options.count is None else options.count)
            wrong += sum(bool(row.get("wrong")) for row in ledger.rows)
        os.chdir(ROOT)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
