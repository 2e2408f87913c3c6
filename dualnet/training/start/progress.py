"""Progress of a run for people: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Optional

from tqdm import tqdm

from dualnet.engine.formats.regular_file import regular_only
from dualnet.report.parse import SHOWN_LOSS
from dualnet.training.loop.session import Session

__all__ = ["LogWatcher", "ProgressBar", "follow"]

_ACCURACY = re.compile(r"Test net output #\d+: accuracy = (\S+)")


class ProgressBar:
    """Iterations done, with the latest loss and test accuracy.

    Args:
        total: Iterations in all.
        every_s: Time between two lines where stderr is no terminal.
    """

    def __init__(self, total: int, every_s: float = 10.0) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._bar = tqdm(total=total, unit="it", disable=not self._is_terminal, file=sys.stderr)
        self._total = total
        self._every_s = every_s
        self._shown_at = time.monotonic()
        self._done = 0

    def update(self, done: int, facts: dict[str, str]) -> None:
        """Show how far it is.

        Args:
            done: Iterations completed.
            facts: Name to value, shown after that.
        """
        with suppress(OSError):  # a closed terminal or a full disk ends no training
            self._show(done, facts)

    def _show(self, done: int, facts: dict[str, str]) -> None:
        self._bar.set_postfix(facts, refresh=False)
        self._bar.update(done - self._done)
        now = time.monotonic()
        is_news = done != self._done and (
            now - self._shown_at > self._every_s or done == self._total
        )
        self._done = done
        if not self._is_terminal and is_news:
            self._shown_at = now
            words = "".join(f", {name} {value}" for name, value in facts.items())
            sys.stderr.write(f"iteration {done}/{self._total}{words}\n")
            sys.stderr.flush()

    def close(self) -> None:
        """Leave the bar as it is and go to the next line."""
        with suppress(OSError):
            self._bar.close()


class LogWatcher:
    """Follows the logs of running pieces and feeds a progress bar from their new lines.

    It shows how far the slowest piece is, and the loss that counts: that of the last piece.

    Args:
        logs: Piece to log file, from the data to the loss; files may not exist yet.
        total: Iterations in all.
    """

    def __init__(self, logs: Mapping[str, str], total: int) -> None:
        self._logs, self._last = logs, list(logs)[-1]
        self._offsets = dict.fromkeys(logs, 0)
        self._bar: Optional[ProgressBar] = None
        self._total = total
        self._iterations = dict.fromkeys(logs, 0)
        self._facts: dict[str, str] = {}

    def update(self) -> None:
        """Read the lines added to the logs since the last call, and show them."""
        for piece, path in self._logs.items():
            # One that cannot be read is for its piece to refuse; a bar ends no training.
            with suppress(OSError):
                self._read(piece, path)
        if self._bar is None:
            self._bar = ProgressBar(self._total)
        self._bar.update(min(self._iterations.values()), self._facts)

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()

    def _read(self, piece: str, path: str) -> None:
        with open(path, "rb", opener=regular_only) as file:
            file.seek(self._offsets[piece])
            # The last line may be incomplete: read up to the last line end only.
            text, newline, _ = file.read().rpartition(b"\n")
        self._offsets[piece] += len(text) + len(newline)
        for line in text.decode(errors="replace").splitlines():
            loss, accuracy = SHOWN_LOSS.search(line), _ACCURACY.search(line)
            if loss:
                self._iterations[piece] = int(loss.group(1))
                if piece == self._last:
                    self._facts["loss"] = loss.group(2)
            elif accuracy:
                self._facts["accuracy"] = accuracy.group(1)
            elif line.endswith("Optimization Done."):
                self._iterations[piece] = self._total


def follow(session: Session) -> None:
    """Show the progress of a session in this process."""
    bar = ProgressBar(session.max_iter)

    def show(done: int) -> None:
        facts = {"loss": f"{session.lines.loss:.4g}"}
        if "accuracy" in session.test_outputs:
            facts["accuracy"] = f"{session.test_outputs['accuracy']:.4f}"
        bar.update(done, facts)
        if done == session.max_iter:
            bar.close()

    session.on_progress = show
