"""The raw rows of one part of the campaign: a JSON line each, kept as they come."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

from tqdm import tqdm

from dualnet.atomic import write_atomically

__all__ = ["Ledger"]

# Its thread would be forked with every half.
tqdm.monitor_interval = 0

_COMMIT = subprocess.run(
    ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"],
    capture_output=True, text=True, check=False,
).stdout.strip()  # fmt: skip


class Ledger:
    """Rows on disk; a part that was cut off goes on behind the last one.

    Args:
        path: the file; its folder is made.

    Attributes:
        rows: all of them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            lines = path.read_text().splitlines(keepends=True)
            # The last line may be cut off.
            self.rows = [json.loads(line) for line in lines if line.endswith("\n")]
            whole = "".join(line for line in lines if line.endswith("\n"))
            path.write_text(whole)

    def add(self, row: dict[str, Any]) -> None:
        """Append a row; a wrong one is shown at once."""
        row = {**row, "commit": _COMMIT}
        self.rows.append(row)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if row.get("wrong"):
            tqdm.write(f"{self.path.stem}: {row['wrong']}", file=sys.stderr)

    def drop(self, is_unwanted: Callable[[dict[str, Any]], bool]) -> None:
        """Throw rows away, on disk too, so that what they tell of is done anew."""
        self.rows = [row for row in self.rows if not is_unwanted(row)]
        write_atomically(self.path, "".join(f"{json.dumps(row)}\n" for row in self.rows).encode())

    def note(self, text: str) -> None:
        """Say why a part, or the rest of it, is left out."""
        tqdm.write(f"{self.path.stem}: {text}", file=sys.stderr)

    def progress(self, count: int, what: str, done: int = 0) -> Any:
        """A progress bar; a line now and then where there is no terminal."""
        seconds = 0.5 if sys.stderr.isatty() else 30.0
        return tqdm(total=count, desc=what, initial=done, mininterval=seconds, dynamic_ncols=True)
