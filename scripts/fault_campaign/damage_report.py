"""The section on damaged files of results/reliability/README.md, from the rows of that part."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

__all__ = ["section"]

_BASES = {
    "killed": "a run whose pieces were killed between two checkpoints",
    "complete": "a complete run",
    "inputs": "configuration, prototxt, database and mean of a single training",
}


def section(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Markdown lines; none without rows."""
    if not rows:
        return []
    wrong = sum(bool(row["wrong"]) for row in rows)
    told = [row for row in rows if "base" in row]
    lines = [
        "## Damaged files",
        "",
        f"**{len(rows)} files damaged or replaced, {wrong or 'none'} with a consequence that "
        "should not be.** A bit flipped, a piece cut off, put in or taken from another file, an "
        "absurd number; a directory, a FIFO, /dev/zero, a dead link or nothing in a file's place. "
        "Then commands meet it: `status`, `digest`, all pieces, `evaluate`, or `single`. Each has "
        "to end in time, within 3 GiB, with a code of its own and a line that says why; and what "
        "it trains, or says of weights, has to be right.",
        "",
        "| damaged | kinds of file | injections | trained to the end, and right | refused "
        "| wrong |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for base, what in _BASES.items():
        chosen = [row for row in told if row["base"] == base]
        done = [row for row in chosen if _is_done(row["codes"]) and not row["wrong"]]
        bad = [row for row in chosen if row["wrong"]]
        cells = [what, len({row["file"] for row in chosen}), len(chosen), len(done),
                 len(chosen) - len(done) - len(bad), len(bad)]  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
    codes = Counter(code for row in told for code in row["codes"].values())
    text = ", ".join(f"{code} {n}" for code, n in codes.most_common())
    return [*lines, "", f"Exit codes of all commands: {text}.", ""]


def _is_done(codes: dict[str, Any]) -> bool:
    return all(code == 0 for name, code in codes.items() if re.fullmatch(r"single|net\d+", name))
