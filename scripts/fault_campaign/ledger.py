"""The raw rows of one part of the campaign: a JSON line each, kept as they come."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Optional

from tqdm import tqdm

from dualnet.atomic import write_atomically

__all__ = ["Ledger", "read_rows"]

# Its thread would be forked with every piece.
tqdm.monitor_interval = 0

_COMMIT = subprocess.run(
    ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"],
    capture_output=True, text=True, check=False,
).stdout.strip()  # fmt: skip


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a part that are whole, in today's words; none if there is no such file."""
    if not path.exists():
        return []
    # The last line may be cut off.
    lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    rows = [json.loads(line) for line in lines]
    for row in rows:
        # The first rows were all of chains of two.
        if "role" in row:
            row["piece"] = row.pop("role")
    return rows


class Ledger:
    """Rows on disk; an interrupted part resumes after the last one.

    Args:
        path: the file; its folder is made.
        pieces: length of the chain that rows are of from now on; None of a part without one.

    Attributes:
        rows: those of chains of this length.
    """

    def __init__(self, path: Path, pieces: Optional[int] = None) -> None:
        self.path, self.pieces = path, pieces
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = read_rows(path)
        self.rows = [row for row in rows if self._is_ours(row)]
        self._others = [row for row in rows if not self._is_ours(row)]
        if path.exists() and not path.read_bytes().endswith(b"\n"):
            self._write()

    def add(self, row: dict[str, Any]) -> None:
        """Append a row; a wrong one is shown at once."""
        row = {**row, **({"pieces": self.pieces} if self.pieces else {}), "commit": _COMMIT}
        self.rows.append(row)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if row.get("wrong"):
            tqdm.write(f"{self.path.stem}: {row['wrong']}", file=sys.stderr)

    def drop(self, is_unwanted: Callable[[dict[str, Any]], bool]) -> None:
        """Throw rows away, on disk too, so that what they describe is done again."""
        self.rows = [row for row in self.rows if not is_unwanted(row)]
        self._write()

    def _is_ours(self, row: dict[str, Any]) -> bool:
        return self.pieces is None or row.get("pieces", 2) == self.pieces

    def _write(self) -> None:
        rows = [*self._others, *self.rows]
        write_atomically(self.path, "".join(f"{json.dumps(row)}\n" for row in rows).encode())

    def note(self, text: str) -> None:
        """Say why a part, or the rest of it, is left out."""
        tqdm.write(f"{self.path.stem}: {text}", file=sys.stderr)

    def progress(self, count: int, what: str, done: int = 0) -> Any:
        """A progress bar; a line now and then where there is no terminal."""
        seconds = 0.5 if sys.stderr.isatty() else 30.0
        return tqdm(total=count, desc=what, initial=done, mininterval=seconds, dynamic_ncols=True)
