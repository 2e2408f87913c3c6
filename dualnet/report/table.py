"""Training logs as tables: the CSV files that Caffe's tools/extra/parse_log.py makes of them.

LOG.train and LOG.test have a header and the columns NumIters, Seconds, LearningRate and one for
each output. Differences to the original: nan and inf are kept, LearningRate is the one of the row's
own iteration rather than of the row before, and values after the first of an output get columns of
their own.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from dualnet.atomic import write_atomically
from dualnet.errors import StorageFailed
from dualnet.report.parse import LogRow, ParsedLog

__all__ = ["write_tables"]


def write_tables(log: ParsedLog, directory: str | Path | None = None) -> list[Path]:
    """Write the rows of a log as CSV files, named after the log.

    Args:
        log: The parsed log.
        directory: Where they go; by default beside the log.

    Returns:
        The files: NAME.train, NAME.test, and NAME.test.K for each further test net K, of those
        that the log has rows for. What is there is replaced.

    Raises:
        StorageFailed: A file cannot be written.
    """
    base = (Path(directory) if directory is not None else log.path.parent) / log.path.name
    tables = {"train": ("train", 0), "test": ("test", 0)}
    tables.update({f"test.{net}": ("test", net) for net in log.tests if net > 0})
    written = []
    for suffix, (phase, net) in tables.items():
        # "Iteration N, loss = v" at the very end of a log has no outputs.
        rows = [row for row in log.rows(phase, net) if row.outputs]
        if rows:
            path = base.with_name(f"{base.name}.{suffix}")
            _write(path, rows, log.names(phase, net))
            written.append(path)
    return written


def _write(path: Path, rows: list[LogRow], names: list[str]) -> None:
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(["NumIters", "Seconds", "LearningRate", *names])
    for row in rows:
        values = [row.outputs.get(name, "") for name in names]
        out.writerow([row.iteration, row.seconds, row.learning_rate, *values])
    try:
        write_atomically(str(path), text.getvalue().encode("utf-8"))
    except OSError as error:
        raise StorageFailed(
            f"cannot write the table {path} ({error.strerror}): free some space there, or choose "
            "another directory"
        ) from error
