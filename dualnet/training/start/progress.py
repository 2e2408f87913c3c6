"""Progress of a run for people: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Optional

from tqdm import tqdm

from dualnet.engine.formats.regular_file import regular_only
from dualnet.report.accuracy import accuracy_name
from dualnet.report.durations import in_time
from dualnet.report.parse import SHOWN_LOSS, SHOWN_OUTPUT
from dualnet.report.piece_facts import read_json
from dualnet.report.waits import LONG_S, in_words
from dualnet.rundir import PieceDir
from dualnet.training.loop.session import Session

__all__ = ["LogWatcher", "ProgressBar", "follow"]

#: Status files are written once a second.
_LOOK_S = 1.0


class ProgressBar:
    """Iterations done, with the latest loss and test accuracy, and whom the run waits for.

    The speed is that of the iterations since the first call of `update`: those of earlier starts
    took none of this one's time.

    Args:
        total: Iterations in all.
        every_s: Time between two lines where stderr is no terminal.
    """

    def __init__(self, total: int, every_s: float = 10.0) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._bar: Optional[tqdm] = None
        self._total = total
        self._every_s = every_s
        #: When and with how many iterations the speed's measurement began.
        self._begun_at, self._begun_with = time.monotonic(), 0
        self._shown_at = self._begun_at
        self._done: Optional[int] = None
        self._wait, self._wait_pause_s = "", every_s

    def update(self, done: Optional[int], facts: Mapping[str, str], wait: str = "") -> None:
        """Show how far it is.

        Args:
            done: Iterations completed; None while that is not known.
            facts: Name to value, shown behind.
            wait: Who has waited for whom for long, if anybody.
        """
        with suppress(OSError):  # a closed terminal or a full disk ends no training
            is_back = self._done is None or (done is not None and done < self._done)
            if done is not None and (is_back or done == self._begun_with):
                # Nothing is made yet, or pieces were started again.
                self._begun_at, self._begun_with = time.monotonic(), done
            if self._is_terminal and done is not None:
                self._draw(done, facts, wait)
            else:
                self._write(done, facts, wait)
            self._done = done

    def _draw(self, done: int, facts: Mapping[str, str], wait: str) -> None:
        if self._bar is None:
            self._bar = tqdm(total=self._total, initial=done, unit="it", file=sys.stderr)
        self._bar.set_description_str(wait or None, refresh=False)
        self._bar.set_postfix(facts, refresh=False)
        self._bar.update(done - self._bar.n)
        if wait != self._wait:
            self._wait = wait
            self._bar.refresh()

    def _write(self, done: Optional[int], facts: Mapping[str, str], wait: str) -> None:
        now = time.monotonic()
        passed_s = now - self._shown_at
        if done is not None and done != self._done:
            is_due = passed_s > self._every_s or done == self._total
            self._wait_pause_s = self._every_s
        else:
            # Less and less often: one that never comes must not fill the disk.
            is_due = bool(wait) and passed_s > self._wait_pause_s
            self._wait_pause_s *= 2 if is_due else 1
        if not is_due:
            return
        self._shown_at = now
        words = [] if done is None else [f"iteration {done}/{self._total}"]
        words += [wait] if wait or done is None else self._speed(done, now)
        words += [f"{name} {value}" for name, value in facts.items()]
        sys.stderr.write(f"{', '.join(words)}\n")
        sys.stderr.flush()

    def _speed(self, done: int, now: float) -> list[str]:
        passed_s, made = now - self._begun_at, done - self._begun_with
        if passed_s < 1.0 or not made:
            return []
        left_s = (self._total - done) * passed_s / made
        left = [f"{in_time(left_s)} left"] if done < self._total else []
        return [f"{made / passed_s:.3g} iterations/s", *left]

    def close(self) -> None:
        """Leave the bar as it is and go to the next line."""
        with suppress(OSError):
            if self._bar is not None:
                self._bar.close()


class LogWatcher:
    """Follows the logs of running pieces and feeds a progress bar from their new lines.

    It shows how far the slowest piece is, and the loss that counts: that of the last piece. What a
    log had before is of earlier starts: how far they came says nothing of this one.

    Args:
        pieces: From the data to the loss; their files may not exist yet.
        total: Iterations in all.
    """

    def __init__(self, pieces: Sequence[PieceDir], total: int) -> None:
        self._pieces, self._last = list(pieces), pieces[-1].name
        self._offsets = {piece.name: 0 for piece in pieces}
        self._bar = ProgressBar(total)
        self._total = total
        self._facts: dict[str, str] = {}
        self._accuracy: Optional[str] = None
        #: None where this start has said nothing yet, and an earlier one did not come to the end.
        self._iterations: dict[str, Optional[int]] = {piece.name: None for piece in pieces}
        self._stamps = {piece.name: _stamp(piece.status) for piece in pieces}
        self._waits: dict[str, tuple[str, float]] = {}
        self._looked_at = -_LOOK_S
        self._read_logs()
        for name, iteration in self._iterations.items():
            self._iterations[name] = iteration if iteration == total else None

    def update(self) -> None:
        """Read what has been added to the logs, and who waits for whom."""
        self._read_logs()
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_S:
            self._looked_at = now
            self._waits = {piece.name: self._wait_of(piece) for piece in self._pieces}
        known = [iteration for iteration in self._iterations.values() if iteration is not None]
        done = min(known) if len(known) == len(self._pieces) else None
        self._bar.update(done, self._facts, in_words(self._waits))

    def close(self) -> None:
        """End the bar."""
        self._bar.close()

    def _wait_of(self, piece: PieceDir) -> tuple[str, float]:
        stamp = _stamp(piece.status)
        if stamp == self._stamps[piece.name]:  # not written since this start
            return "", 0.0
        said = read_json(piece.status, [])
        seconds = said.get("waits_s")
        return str(said.get("waits_for") or ""), seconds if isinstance(seconds, float) else 0.0

    def _read_logs(self) -> None:
        for piece in self._pieces:
            # One that cannot be read is for its piece to refuse; a bar ends no training.
            with suppress(OSError):
                self._read(piece.name, piece.log)

    def _read(self, piece: str, path: str) -> None:
        with open(path, "rb", opener=regular_only) as file:
            file.seek(self._offsets[piece])
            # The last line may be incomplete: read up to the last line end only.
            text, newline, _ = file.read().rpartition(b"\n")
        self._offsets[piece] += len(text) + len(newline)
        for line in text.decode(errors="replace").splitlines():
            loss, output = SHOWN_LOSS.search(line), SHOWN_OUTPUT.search(line)
            if loss:
                self._iterations[piece] = int(loss.group(1))
                if piece == self._last:
                    self._facts["loss"] = loss.group(2)
            elif output:
                self._note_output(output.group(1), output.group(2))
            elif line.endswith("Optimization Done."):
                self._iterations[piece] = self._total

    def _note_output(self, name: str, value: str) -> None:
        known = [name] if self._accuracy is None else [self._accuracy, name]
        self._accuracy = accuracy_name(known)
        if name == self._accuracy:
            self._facts["test accuracy"] = value


def _stamp(path: str) -> Optional[tuple[int, int]]:
    """Changes when the file is written anew."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def follow(session: Session) -> None:
    """Show the progress of a session in this process."""
    bar = ProgressBar(session.max_iter)

    def facts() -> dict[str, str]:
        found = (
            {"loss": f"{session.lines.loss:.4g}"}
            if session.lines.loss == session.lines.loss
            else {}
        )
        name = accuracy_name(session.test_outputs)
        if name is not None:
            found["test accuracy"] = f"{session.test_outputs[name]:.4f}"
        return found

    def show(done: int) -> None:
        bar.update(done, facts())
        if done == session.max_iter:
            bar.close()

    def wait() -> None:
        neighbour, seconds = session.status_file.wait
        if neighbour and seconds >= LONG_S:
            bar.update(session.iteration, facts(), f"waits for {neighbour}, {in_time(seconds)}")

    session.on_progress, session.on_wait = show, wait
    bar.update(session.iteration, facts())
