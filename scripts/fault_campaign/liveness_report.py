"""The section on liveness of results/reliability/README.md, from the rows of that part."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

__all__ = ["section"]

Row = dict[str, Any]
#: As the plans of draw.py say it, and as a reader does.
_MODES = {
    "forked": "forked from a process that has imported everything",
    "commands": "`dualnet net1` and so on as commands of their own",
    "train": "`dualnet train`",
}


def section(rows: Sequence[Row]) -> list[str]:
    """Markdown lines; none without rows."""
    if not rows:
        return []
    told = [row for row in rows if "mode" in row]
    complete = sum(row["complete"] for row in told)
    differ = sum(row["digest"] is False for row in told)
    odd = sum(bool(row["wrong"]) for row in rows)
    signals = sum(len(fault["victims"]) for row in told for fault in row["faults"])
    killed = sum(code == -9 for row in told for _, code in row["codes"])
    took = [row["took_s"] for row in told if row["complete"]]
    lines = [
        "## Liveness: when the faults end, the same command finishes",
        "",
        f"**{len(rows)} trainings with {signals} signals and {killed} processes killed: {complete} "
        f"completed by the same command given once, {differ or 'none'} with a wrong digest"
        + (f"; {odd} with something else that should not be, listed above" if odd else "")
        + ".**",
        "",
        "Options, timers, faults and pauses are drawn anew for each training; its row says all of "
        "them, and `scripts/fault_campaign.sh --seed S --only N liveness` does training N again. "
        "Pieces are killed, asked to stop, suspended, started twice, left without memory, files "
        "or disk, in recoveries and in their last moments as well, and started again at once or "
        "after pauses longer than the run's timers. Then all are given their command once. "
        "`odd`: a process ended with a code that no fault accounts for, printed a traceback, or "
        "left a process or a file behind.",
        "",
        *_grid(told),
        "Pieces were started as follows: "
        + ", ".join(f"{_MODES[mode]} {n}" for mode, n in _count(told, _mode))
        + ". A forked piece runs the command's own `main` in a process and process group of "
        "its own; it spares the imports, no more.",
        "",
        "- " + _phrase("Faults", Counter(_faults(told))),
        "- " + _phrase("Moments that signals met", Counter(_phases(told))),
        "- " + _phrase("Lives that lacked something", Counter(_lacks(told))),
        "- " + _phrase("Exit codes of all processes", Counter(_codes(told))),
        "- " + _phrase("What became of those that still ran when the faults ended",
                       Counter(row["left"] for row in told)),
    ]  # fmt: skip
    if took:
        lines.append(
            f"- From the last command to the end: median {statistics.median(took):.1f} s, at most "
            f"{max(took):.1f} s. Of one message at most "
            f"{max(row['most_copies'] for row in told)} copies lay on the disk at a time, of as "
            "many lives; all were gone in the end."
        )
    return [*lines, ""]


def _grid(rows: Sequence[Row]) -> list[str]:
    head = [
        "pieces",
        "schedule",
        "carrier",
        "trainings",
        "signals",
        "complete",
        "wrong digest",
        "odd",
    ]
    lines = [f"| {' | '.join(head)} |", "| ---: | --- | --- | ---: | ---: | ---: | ---: | ---: |"]
    for key, count in _count(rows, _group):
        chosen = [row for row in rows if _group(row) == key]
        cells = [
            *key, count,
            sum(len(fault["victims"]) for row in chosen for fault in row["faults"]),
            sum(row["complete"] for row in chosen), sum(row["digest"] is False for row in chosen),
            sum(bool(row["wrong"]) for row in chosen),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return [*lines, ""]


def _group(row: Row) -> tuple[int, str, str]:
    """Length of the chain, schedule, carrier."""
    return row.get("pieces", 2), _schedule(row), _carrier(row)


def _count(rows: Sequence[Row], key: Any) -> list[tuple[Any, int]]:
    return sorted(Counter(map(key, rows)).items())


def _mode(row: Row) -> str:
    return str(row["mode"])


def _option(row: Row, key: str, default: str) -> str:
    settings = f"{row['trained']} {row['others']}".split()
    found = [setting.partition("=")[2] for setting in settings if setting.startswith(f"{key}=")]
    return found[-1] if found else default


def _carrier(row: Row) -> str:
    return _option(row, "exchange.carrier", "files")


def _schedule(row: Row) -> str:
    schedule = _option(row, "train.schedule", "alternating")
    if schedule != "overlapped":
        return schedule
    staleness = int(_option(row, "train.staleness", "1"))
    return "one batch ahead" if staleness == 1 else "2 to 4 batches ahead"


def _faults(rows: Sequence[Row]) -> list[str]:
    found = []
    for row in rows:
        found += ["silent strangers at the port"] if row["strangers"] else []
        for fault in row["faults"]:
            found += [f"SIG{fault['signal']}"] * len(fault["victims"])
            found += ["a full disk"] if "fill_s" in fault else []
            is_all = fault["again"] in ("all", "both")
            found += ["all pieces started, running or not"] if is_all else []
    return found


def _phases(rows: Sequence[Row]) -> list[str]:
    phases = [
        phase for row in rows for fault in row["faults"] for phase in fault["victims"].values()
    ]
    return ["any, to dualnet train" if phase == "any" else phase for phase in phases]


def _lacks(rows: Sequence[Row]) -> list[str]:
    lives = [row.get("first_lives", {}) for row in rows]
    lives += [fault.get("lives", {}) for row in rows for fault in row["faults"]]
    names = {"memory_mib": "memory", "files": "open files", "point": "anything after a named point"}
    return [names[key] for life in lives for one in life.values() for key in one]


def _codes(rows: Sequence[Row]) -> list[str]:
    return [str(code) for row in rows for _, code in row["codes"]]


def _phrase(title: str, counts: Counter[str]) -> str:
    return f"{title}: " + ", ".join(f"{what} {n}" for what, n in counts.most_common()) + "."
