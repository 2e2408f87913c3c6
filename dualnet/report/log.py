"""Training logs in Caffe's format, so that every tool which reads Caffe's logs reads ours.

    I1122 15:47:14.839432  9521 session.py:8] Iteration 10 (2.5 iter/s, 4s/10 iters), loss = 2.87337
    I1122 15:47:14.839440  9521 session.py:8]     Train net output #0: loss = 1.43 (* 2 = 2.86 loss)

The messages are those of Caffe's src/caffe/solver.cpp and src/caffe/solvers/sgd_solver.cpp, the
prefix is glog's (level, month and day, time, thread, file and line), and numbers look as C++ prints
them by default, which is Python's %g. `dualnet.report.parse` reads the format.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Protocol, TextIO, Union

import numpy as np

from dualnet.engine.formats.regular_file import regular_only
from dualnet.errors import StorageFailed

__all__ = ["LEARNING_RATE", "SMOOTHED_LOSS", "CaffeLog", "Listener"]

#: What the loss of the "Iteration" lines is called beside the outputs: Caffe's own word for it
#: (solver.cpp), for it is the mean over `average_loss` iterations. And the rate of the "lr" lines.
SMOOTHED_LOSS, LEARNING_RATE = "smoothed_loss", "learning_rate"

#: A scalar output, or one with several values, such as an accuracy per class.
Value = Union[float, np.ndarray]
Outputs = Mapping[str, Value]


class Listener(Protocol):
    """Takes what a log writes, as numbers."""

    def write(self, phase: str, iteration: int, values: Mapping[str, float]) -> None:
        """Take series of one iteration.

        Args:
            phase: "train" or "test".
            iteration: Updates done before it.
            values: Name to value, under the names that `dualnet curves` has for them.
        """

    def close(self) -> None:
        """The log is closed."""


class CaffeLog:
    """Appends to a log file line by line; each line reaches the file before the call returns.

    A log that exists is continued, so that a run and its restarts share one file.

    Args:
        path: The file; missing parents are made.
        display: Iterations between two calls of `training`, for the first one's "s/N iters".
        echo: Also write each message here, as to a terminal; without the prefix.
        clock: Gives the seconds since 1970.
        attempt: Runs what opens the file, or writes a line; it may run that again after an OSError.

    Raises:
        StorageFailed: The file cannot be opened or written.
    """

    def __init__(
        self,
        path: str | Path,
        display: int = 1,
        echo: TextIO | None = None,
        clock: Callable[[], float] = time.time,
        attempt: Callable[[Callable[[], None]], None] = lambda write: write(),
    ) -> None:
        #: Where the log is.
        self.path = Path(path)
        #: As given; may be changed.
        self.attempt = attempt
        #: Takes the training's series, too.
        self.listener: Listener | None = None
        self._display = display
        self._echo = echo
        self._clock = clock
        self._last_time_s = clock()
        self._last_iteration: int | None = None
        try:
            self.attempt(self._open)
        except OSError as error:
            raise self._failed(error) from error

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(  # noqa: SIM115 (closed by close)
            self.path, "ab", buffering=0, opener=regular_only
        )
        try:
            if _ends_within_a_line(self.path):
                # A process that was killed, or a disk that was full, left half a line.
                self._file.write(b"\n")
        except OSError:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file; further lines are errors."""
        self._file.close()
        if self.listener is not None:
            self.listener.close()

    def __enter__(self) -> CaffeLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # Free lines.

    def info(self, message: str) -> None:
        """Write a line of any text; a message of several lines gets a prefix on each.

        Args:
            message: The text.
        """
        self._write("I", message)

    def warning(self, message: str) -> None:
        """Write a line at level W.

        Args:
            message: The text.
        """
        self._write("W", message)

    def error(self, message: str) -> None:
        """Write a line at level E.

        Args:
            message: The text.
        """
        self._write("E", message)

    # Caffe's lines, in the order in which a training run writes them.

    def solving(self, name: str) -> None:
        """Write "Solving NAME": readers take the start time from it.

        Args:
            name: Of the net.
        """
        self._last_time_s, self._last_iteration = self._clock(), None
        self.info(f"Solving {' '.join(name.split())}")

    def testing(
        self,
        iteration: int,
        outputs: Outputs,
        loss_weights: Mapping[str, float] | None = None,
        net: int = 0,
    ) -> None:
        """Write the scores of a test net.

        Args:
            iteration: Updates done so far.
            outputs: Output name to its mean over the test batches, in the net's order of outputs.
            loss_weights: Output name to its loss weight, where it is not 0.
            net: Which test net.
        """
        self.info(f"Iteration {iteration}, Testing net (#{net})")
        self._outputs("Test", outputs, loss_weights or {})
        self._tell("test" if net == 0 else f"test{net}", iteration, outputs)

    def training(
        self,
        iteration: int,
        loss: float,
        outputs: Outputs,
        learning_rate: float | None = None,
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        """Write what a training iteration came to, with the speed since the last such call.

        Args:
            iteration: Updates done before it.
            loss: The (weighted, possibly averaged) loss.
            outputs: Output name to value, in the net's order of outputs. Series of one's own, such
                as norms, may follow.
            learning_rate: Of this iteration's update; no "lr" line if None.
            loss_weights: Output name to its loss weight, where it is not 0.
        """
        now_s = self._clock()
        passed_s = now_s - self._last_time_s
        last = self._last_iteration
        done = self._display if last is None else iteration - last
        # Caffe divides by 1 where no time has passed.
        speed = (0 if last is None else done) / (passed_s or 1)
        self._last_time_s, self._last_iteration = now_s, iteration
        self.info(
            f"Iteration {iteration} ({speed:g} iter/s, {passed_s:g}s/{done} iters), loss = {loss:g}"
        )
        self._outputs("Train", outputs, loss_weights or {})
        if learning_rate is not None:
            self.info(f"Iteration {iteration}, lr = {learning_rate:g}")
        own = {SMOOTHED_LOSS: loss}
        if learning_rate is not None:
            own[LEARNING_RATE] = learning_rate
        self._tell("train", iteration, outputs, own)

    def series(self, outputs: Outputs) -> None:
        """Write values that belong to the last training iteration but were known later.

        Args:
            outputs: Name to value.
        """
        self._outputs("Train", outputs, {})
        self._tell("train", self._last_iteration or 0, outputs)

    def snapshot(self, model: str | Path, state: str | Path | None = None) -> None:
        """Write which snapshot files are being written.

        Args:
            model: The weights; the suffix .h5 means HDF5.
            state: The solver's state, if it is kept.
        """
        self.info(f"Snapshotting to {_format_name(model)} file {model}")
        if state is not None:
            self.info(f"Snapshotting solver state to {_format_name(state)} file {state}")

    def done(self, iteration: int, loss: float | None = None) -> None:
        """Write the last lines of a run that has come to its end.

        Args:
            iteration: Updates done.
            loss: Of one more forward pass, if there was one.
        """
        if loss is not None:
            self.info(f"Iteration {iteration}, loss = {loss:g}")
        self.info("Optimization Done.")

    def _tell(
        self, phase: str, iteration: int, outputs: Outputs, own: Mapping[str, float] | None = None
    ) -> None:
        """Hand series to the listener, an output of several values as NAME, NAME[1], …"""
        if self.listener is None:
            return
        values = dict(own or {})
        for name, array in outputs.items():
            for k, value in enumerate(np.ravel(array).tolist()):
                values[f"{_plain(name)}[{k}]" if k else _plain(name)] = value
        self.listener.write(phase, iteration, values)

    def _outputs(self, phase: str, outputs: Outputs, weights: Mapping[str, float]) -> None:
        # Caffe numbers values, not blobs: an output of three values takes three numbers.
        values = ((name, v) for name in outputs for v in np.ravel(outputs[name]).tolist())
        for k, (name, value) in enumerate(values):
            line = f"    {phase} net output #{k}: {_plain(name)} = {value:g}"
            weight = weights.get(name, 0)
            if weight != 0:
                with np.errstate(all="ignore"):  # a diverged loss must not stop the log
                    product = np.float32(weight) * np.float32(value)
                line += f" (* {weight:g} = {product:g} loss)"
            self.info(line)

    def _write(self, level: str, message: str) -> None:
        now_s = self._clock()
        stamp = time.strftime("%m%d %H:%M:%S", time.localtime(now_s))
        micros = int(now_s % 1 * 1e6)
        head = f"{level}{stamp}.{micros:06d} {os.getpid():5d} {_caller()}] "
        lines = message.splitlines() or [""]
        text = "".join(f"{head}{line}\n" for line in lines)
        # One write for all of it: lines of several processes in one file stay whole.
        rest = memoryview(text.encode("utf-8", "backslashreplace"))

        def put() -> None:
            nonlocal rest
            while rest:
                rest = rest[self._file.write(rest) :]

        try:
            self.attempt(put)
        except (OSError, ValueError) as error:  # ValueError: closed
            raise self._failed(error) from error
        if self._echo is not None:
            self._echo.write("".join(f"{line}\n" for line in lines))

    def _failed(self, error: Exception) -> StorageFailed:
        reason = getattr(error, "strerror", None) or error
        return StorageFailed(
            f"cannot write the log {self.path} ({reason}): free some space, or check the path and "
            "its permissions"
        )


def _plain(name: str) -> str:
    """An output's name as one word: readers of the log end it at the first space."""
    return "_".join(name.split()) or "_"


def _ends_within_a_line(path: Path) -> bool:
    if os.stat(path).st_size == 0:
        return False
    with open(path, "rb", opener=regular_only) as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _format_name(path: str | Path) -> str:
    return "HDF5" if str(path).endswith(".h5") else "binary proto"


def _frames() -> Iterator[Any]:
    frame = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back  # type: ignore[assignment]


def _caller() -> str:
    """Return file:line of the code that called the log."""
    for frame in _frames():
        if frame.f_code.co_filename != __file__:
            return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
    return "log.py:0"
