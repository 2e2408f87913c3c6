"""All series of runs as one CSV file, for spreadsheets and pandas.

A row for each iteration that a log has a line of, of each piece and phase:

    run,piece,phase,iteration,seconds,learning_rate,smoothed_loss,loss,conv3_norm,accuracy
    runs/a,net1,train,0,0.21,0.01,2.31,2.31,14.2,
    runs/a,net2,test,0,0.18,0.01,,2.3,,0.1

The values are those of the logs. `seconds` are since the piece's first start; `smoothed_loss` is
the loss of the "Iteration" lines, a mean over the solver's `average_loss` iterations. Where a piece
went back to a checkpoint, what it did then counts, and each iteration is there once.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from dualnet.atomic import write_atomically
from dualnet.errors import StorageFailed
from dualnet.report.log import LEARNING_RATE, SMOOTHED_LOSS
from dualnet.report.parse import LogRow, ParsedLog
from dualnet.report.runs import read_runs

__all__ = ["to_csv", "write_csv"]

_FIRST = ("run", "piece", "phase", "iteration", "seconds", LEARNING_RATE, SMOOTHED_LOSS)


def to_csv(paths: Sequence[str | Path]) -> str:
    """The series of runs as CSV.

    Args:
        paths: Run directories, or single log files, BVLC Caffe's too.

    Returns:
        The text: a header and its rows; "nan" and "inf" are values, an empty field is none.

    Raises:
        UsageError: A path holds no log.
        StorageFailed: A log cannot be read.
    """
    rows: list[tuple[dict[str, object], LogRow]] = []
    for run in read_runs(paths):
        for piece, log in run.logs.items():
            for phase, row in _rows(log):
                rate = "" if math.isnan(row.learning_rate) else row.learning_rate
                loss = "" if row.loss is None else row.loss
                first = (run.path, piece, phase, row.iteration, row.seconds, rate, loss)
                rows.append((dict(zip(_FIRST, first)), row))
    names = dict.fromkeys(name for _, row in rows for name in row.outputs)
    columns = {name: f"{name} (output)" if name in _FIRST else name for name in names}
    text = io.StringIO()
    out = csv.DictWriter(text, [*_FIRST, *columns.values()], lineterminator="\n")
    out.writeheader()
    for fields, row in rows:
        out.writerow({**fields, **{columns[name]: value for name, value in row.outputs.items()}})
    return text.getvalue()


def write_csv(paths: Sequence[str | Path], out: str | Path) -> None:
    """Write the series of runs into a file; what is there is replaced.

    Args:
        paths: As of `to_csv`.
        out: The file.

    Raises:
        UsageError: A path holds no log.
        StorageFailed: A log cannot be read, or the file cannot be written.
    """
    text, out = to_csv(paths), Path(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(str(out), text.encode("utf-8"))
    except OSError as error:
        raise StorageFailed(
            f"cannot write {out} ({error.strerror}): free some space, or choose another -o FILE"
        ) from error


def _rows(log: ParsedLog) -> Iterator[tuple[str, LogRow]]:
    """Each row with its phase: "train", "test", and "test1", … for further test nets."""
    yield from (("train", row) for row in log.train)
    for net, rows in log.tests.items():
        yield from ((f"test{net}" if net else "test", row) for row in rows)
