"""The times in a log of glog's, whose lines have month and day, but usually no year."""

from __future__ import annotations

import calendar
import os
import re
from datetime import datetime, timedelta
from pathlib import Path

__all__ = ["LogClock"]

#: glog's prefix; version 0.5 and later put the year before the month.
_PREFIX = re.compile(
    r"(?:^|\s)[IWEF](\d{4})?(\d\d)(\d\d) (\d\d):(\d\d):(\d\d)(\.\d{1,9})?\s+\d+ [^\s\]]+:\d+\]",
    re.ASCII,
)


class LogClock:
    """Reads the seconds since the start of a log from its lines.

    Args:
        path: The log; the year of its last change counts where the lines have none.
    """

    def __init__(self, path: Path) -> None:
        self._year = datetime.fromtimestamp(os.stat(path).st_mtime).year
        self._start: datetime | None = None
        self._now: datetime | None = None
        self._solving = False

    @property
    def seconds(self) -> float:
        """Since the start; 0 before any line with a time."""
        if self._start is None or self._now is None:
            return 0.0
        return (self._now - self._start).total_seconds()

    def start(self) -> None:
        """Take the present line as the start, unless an earlier one was."""
        if not self._solving:
            self._solving, self._start = True, self._now

    def feed(self, line: str) -> None:
        """Read the time of a line, if it has one."""
        match = _PREFIX.search(line)
        if match is None:
            return
        year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
        time = timedelta(hours=hour, minutes=minute, seconds=second + float(match.group(7) or 0))
        try:
            moment = _date(year or self._year, month, day) + time
            # December to January. Clocks of two nodes differ by less than half a year.
            if not year and self._now is not None and self._now - moment > timedelta(days=183):
                self._year += 1
                moment = _date(self._year, month, day) + time
        except (ValueError, OverflowError):  # no such day
            return
        self._now = moment
        if self._start is None:
            self._start = moment


def _date(year: int, month: int, day: int) -> datetime:
    if (month, day) == (2, 29) and not calendar.isleap(year):
        month, day = 3, 1  # the file was last changed in another year than this line was written
    return datetime(year, month, day)
