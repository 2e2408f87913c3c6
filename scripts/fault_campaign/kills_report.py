"""The section on random kills of results/reliability/README.md, from the rows of that part."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

__all__ = ["section", "table"]

Row = dict[str, Any]


def table(head: Sequence[str], body: Sequence[Sequence[Any]]) -> list[str]:
    """A table of Markdown: words to the left, numbers to the right."""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return [f"| {' | '.join(map(str, row))} |" for row in (head, rule, *body)] + [""]


def section(rows: Sequence[Row]) -> list[str]:
    """Markdown lines."""
    lines = ["## SIGKILL at random moments", ""]
    for pieces in sorted({row.get("pieces", 2) for row in rows}):
        lines += _kills_of(pieces, [row for row in rows if row.get("pieces", 2) == pieces])
    old = sum(row["kills"] for row in rows if "commit" not in row)
    if old:
        lines += [
            f"{old} of the kills are older than the status record that is written in place; they "
            "met one that was renamed over.",
            "",
        ]
    return lines


def _kills_of(pieces: int, rows: Sequence[Row]) -> list[str]:
    """Chains of one length: a table by provider and schedule, and what the restarts cost."""
    names = [f"net{number}" for number in range(1, pieces + 1)]
    phases = ("starting", "recovery", "training", "ending")
    body = []
    for group in sorted({_schedule(row) for row in rows}):
        chosen = [row for row in rows if _schedule(row) == group]
        kills = [kill for row in chosen for kill in row["details"]]
        met = Counter(phase for kill in kills for phase in kill["phases"].values())
        alone = Counter(kill["victims"][0] for kill in kills if len(kill["victims"]) == 1)
        body.append([
            *group, len(chosen), len(kills), *(alone[name] for name in names),
            sum(len(kill["victims"]) > 1 for kill in kills), *(met[phase] for phase in phases),
            sum(bool(row["wrong"]) for row in chosen),
        ])  # fmt: skip
    head = ["provider", "schedule", "trainings", "kills", *names, "several", *phases, "wrong"]
    lines = [f"### Chains of {pieces} pieces", "", *table(head, body)]
    again = [number for row in rows for number in row["repeated_iterations"]]
    recovery = [number for row in rows for number in row["recovery_s"]]
    if again and recovery:
        lines += [
            f"Iterations done again after a kill: median {statistics.median(again):g}, at most "
            f"{max(again)} (a checkpoint every 5). From the start of a process to the first new "
            f"iteration: median {statistics.median(recovery):.2f} s, at most "
            f"{max(recovery):.2f} s, without the imports. Messages sent again and found equal "
            f"to the bit: {sum(row['replayed_messages'] for row in rows)}.",
            "",
        ]
    combined = Counter((row["carrier"], row["rule"]) for row in rows if "carrier" in row)
    if combined:
        texts = (f"{rule} over {carrier} {n}" for (carrier, rule), n in sorted(combined.items()))
        lines += [f"Trainings by rule and carrier: {', '.join(texts)}.", ""]
    return lines


def _schedule(row: Row) -> tuple[str, str]:
    """Provider and schedule."""
    return row["provider"], row.get("schedule", "alternating")
