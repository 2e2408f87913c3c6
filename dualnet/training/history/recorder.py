"""Writes a piece's present life into its record (report/lives.py): its beginning, and its end."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Callable, Optional

from dualnet.engine.errors import CaffeError
from dualnet.errors import DualnetError, Superseded
from dualnet.exchange.run.host import ProcessId
from dualnet.fs import SYSTEM, Fs
from dualnet.process.stopping import Stopped
from dualnet.report.lives import Life, read_lives, time_text, without_end, write_lives
from dualnet.rundir import PieceDir
from dualnet.scarcity import disk_fault, is_scarcity, lacks_files

__all__ = ["Recorder", "exit_code_of", "recorded"]


class Recorder:
    """Records one life.

    Args:
        piece: Whose.
        fs: All I/O and the clocks.
    """

    def __init__(self, piece: PieceDir, fs: Fs = SYSTEM) -> None:
        self._piece, self._fs = piece, fs
        self._began_s, self._began_at_s = fs.wall_time(), fs.monotonic()
        self._life: Optional[Life] = None
        self._iteration: Callable[[], int] = lambda: 0

    def begin(
        self,
        facts: Mapping[str, Any],
        iteration: Callable[[], int],
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Add the life to the record; may be called again where it failed.

        Args:
            facts: What it is made with.
            iteration: Gives the updates done, now and at its end.
            warn: Takes a line where the record is damaged and begins anew.

        Raises:
            OSError: As the system says; the record is as it was then.
        """
        # This process holds the piece's name: an earlier one that has left no end is gone.
        earlier = [
            without_end(one, self._piece) if one.state == "running" else one
            for one in self._read(warn)
        ]
        life = Life(
            number=len(earlier) + 1,
            began=time_text(self._began_s),
            first_iteration=iteration(),
            process=ProcessId.current().fields(),
            facts=dict(facts),
        )
        write_lives(self._piece, [*earlier, life], self._fs)
        self._life, self._iteration = life, iteration

    def end(self, error: Optional[BaseException]) -> None:
        """Add how it ended, if it has begun.

        The training is over and nothing depends on this: a disk that fails leaves the life without
        an end, as a process that is killed does.

        Args:
            error: What ended it; None: it is done.
        """
        # Where another process has taken over, the record is that one's.
        if self._life is None or isinstance(error, Superseded):
            return
        state = "done"
        if error is not None:
            is_stop = isinstance(error, (Stopped, KeyboardInterrupt))
            state = "stopped" if is_stop else "failed"
        ended = replace(
            self._life,
            state=state,
            ended=time_text(self._fs.wall_time()),
            wall_s=round(self._fs.monotonic() - self._began_at_s, 3),
            exit_code=0 if error is None else exit_code_of(error),
            error="" if error is None else _in_one_line(error),
            last_iteration=self._iteration(),
        )
        try:
            # Read anew: the piece's next start may have begun since this one left the run.
            lives = [ended if self._is_own(one) else one for one in read_lives(self._piece)]
            write_lives(self._piece, lives, self._fs)
        except (OSError, ValueError):
            pass

    def _is_own(self, life: Life) -> bool:
        own = self._life
        return own is not None and (life.number, life.process) == (own.number, own.process)

    def _read(self, warn: Callable[[str], None]) -> list[Life]:
        try:
            return read_lives(self._piece)
        except ValueError as error:
            path = self._piece.lives
            aside = self._piece.aside(os.path.basename(path))
            self._fs.rename(path, aside)
            warn(
                f"{path} is damaged ({error}): it is {os.path.basename(aside)} now, and the record "
                "of this piece's starts begins anew"
            )
            return []


@contextmanager
def recorded(piece: PieceDir) -> Iterator[Recorder]:
    """Context of a training: its end is recorded, however it ends, once its life has begun."""
    recorder = Recorder(piece)
    try:
        yield recorder
    except BaseException as error:
        recorder.end(error)
        raise
    recorder.end(None)


def exit_code_of(error: BaseException) -> int:
    """What the command ends with over an error (cli/__init__.py)."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, Stopped):
        return error.exit_code
    is_known = isinstance(error, DualnetError)
    if is_scarcity(error) and (is_known or not isinstance(error, ValueError)):
        return 77
    if not is_known and lacks_files(error):
        return 74
    if isinstance(error, DualnetError):
        code = error.exit_code
    else:
        code = 2 if isinstance(error, CaffeError) else 1
    return 74 if code == 2 and disk_fault(error) is not None else code


def _in_one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
