"""The pieces of a chain as processes of this machine: started, watched and ended together."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import takewhile
from typing import Callable, Optional

from dualnet.engine.formats.regular_file import regular_only
from dualnet.errors import (
    DamagedMessage,
    DualnetError,
    NeighbourDied,
    NeighbourHung,
    NeighbourNeverCame,
    OutOfMemory,
    StorageFailed,
    TrainingFailed,
)
from dualnet.exchange.peek import peek
from dualnet.process.lifeline import Lifeline
from dualnet.process.stopping import Stopped, Stopper
from dualnet.rundir import PieceDir, RunDir

__all__ = ["launch"]

#: Pieces that were started, by name.
Processes = dict[str, "subprocess.Popen[bytes]"]

#: Exit codes of pieces that are worth another start.
_PASSING = {
    error.exit_code
    for error in (
        NeighbourNeverCame,
        NeighbourDied,
        NeighbourHung,
        DamagedMessage,
        StorageFailed,
        OutOfMemory,
    )
}

#: What the command's error lines begin with.
_ERROR = "dualnet: "
_GLOG_FATAL = re.compile(r"F\d{4,8} \S+ +\d+ \S+\] ")
#: What Python writes, before its stack, when a signal like SIGBUS ends it (faulthandler).
_CRASH = "Fatal Python error: "


class _Failed(TrainingFailed):
    """A piece ended with an exit code of its own, which is passed on."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def launch(
    run: RunDir,
    names: Sequence[str],
    arguments: Sequence[str],
    watch: Callable[[], None],
    grace_s: float = 10.0,
    poll_s: float = 0.2,
    restarts: int = 0,
    stopper: Optional[Stopper] = None,
) -> None:
    """Run all pieces to their end.

    Args:
        run: Where their output goes.
        names: The pieces, from the data to the loss; each is the command that trains it.
        arguments: What follows the name on the command line.
        watch: Called now and then, to show progress.
        grace_s: Seconds that the surviving pieces get to notice another's end and say why, and a
            terminated one to end, before it is killed.
        poll_s: Seconds between two polls of the processes.
        restarts: How often pieces that died may be started again, in all; one that hangs counts
            among them, once a neighbour ends over it.
        stopper: Knows whether a signal asks to stop; the pieces are then asked to.

    Raises:
        Stopped: They did.
        DualnetError: A piece failed; the message and the exit code are those of the piece that
            failed by itself, or of the one that best identifies the piece that hangs.
    """
    processes: Processes = {}
    with Lifeline() as lifeline:
        start = partial(_start, arguments=arguments, lifeline=lifeline)
        try:
            # No signal comes between the start of a process and its place in the list.
            hold = stopper.defer_signals if stopper is not None else nullcontext
            for name in names:
                with hold():
                    processes[name] = start(run.piece(name))
            while True:
                failed = _wait(processes, watch, grace_s, poll_s, restarts > 0, stopper)
                if stopper is not None and stopper.requested:
                    _stop(processes, watch, grace_s, poll_s, stopper)
                if not failed:
                    return
                again = [failed[0], *_hung_according_to(failed[0], processes, run)]
                may_restart = all(_may_restart(processes[name]) for name in failed)
                if len(again) > restarts or not may_restart:
                    raise _blame(failed, processes, run)
                restarts -= len(again)
                for name in again:
                    _kill(processes[name])
                    with hold():
                        processes[name] = start(run.piece(name), again=True)
        finally:
            # Also on Ctrl-C and SIGTERM, an exception too (stopping.py): no piece is left behind.
            _end(processes, grace_s)


def _may_restart(process: subprocess.Popen[bytes]) -> bool:
    """Whether a piece ended by something temporary: a signal, the disk, a neighbour.

    A wrong configuration, a loss that is not finite or another copy of it would end it again.
    """
    return process.returncode < 0 or process.returncode in _PASSING


def _hung_according_to(name: str, processes: Processes, run: RunDir) -> list[str]:
    """The running piece that another one has ended over because it hangs, or none.

    Started again alone, the one that noticed would only find the same neighbour hanging again.
    """
    if processes[name].returncode != NeighbourHung.exit_code:
        return []
    # The message begins with the neighbour's name.
    said = _telling_line(run.piece(name).output)[len(_ERROR) :].partition(" ")[0]
    return [said] if said in processes and processes[said].poll() is None else []


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process at once; SIGTERM would not end one that is suspended."""
    if process.poll() is None:
        process.kill()
        process.wait()


def _stop(
    processes: Processes,
    watch: Callable[[], None],
    grace_s: float,
    poll_s: float,
    stopper: Stopper,
) -> None:
    """Ask all pieces to stop, by SIGTERM, and wait until they have ended.

    They get the stopper's `within_s` and `grace_s` seconds together. Pieces that still run then are
    ended by the caller (`_end`).

    Raises:
        Stopped: In any case; its exit code is 0 if all can resume.
    """
    deadline = time.monotonic() + stopper.within_s + grace_s
    stopper.cancel_deadline()
    for process in processes.values():
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    while time.monotonic() < deadline and any(p.poll() is None for p in processes.values()):
        watch()
        time.sleep(poll_s)
    number = stopper.error().number
    if any(process.poll() != 0 for process in processes.values()):
        raise Stopped(number)
    raise Stopped(number, "the same command continues all pieces")


def _start(
    piece: PieceDir, arguments: Sequence[str], lifeline: Lifeline, again: bool = False
) -> subprocess.Popen[bytes]:
    try:
        with open(piece.output, "ab" if again else "wb", opener=regular_only) as output:
            return lifeline.start([piece.name, *arguments], stdout=output, stderr=subprocess.STDOUT)
    except OSError as error:
        raise StorageFailed(f"{piece.run}: cannot start {piece.name}: {error.strerror}") from error


def _wait(
    processes: Processes,
    watch: Callable[[], None],
    grace_s: float,
    poll_s: float,
    at_once: bool,
    stopper: Optional[Stopper],
) -> list[str]:
    """Wait until all have ended, or one has failed, or a signal asks to stop; ends no process.

    Args:
        processes: The pieces.
        watch: Called at each poll.
        grace_s: Seconds that the others get to end by themselves after the first has failed.
        poll_s: Seconds between two polls.
        at_once: Return as soon as a piece has failed, without `grace_s`.
        stopper: Knows whether a signal asks to stop.

    Returns:
        The names of those that failed, in this order.
    """
    failed: list[str] = []
    deadline: Optional[float] = None
    while True:
        running = [name for name, process in processes.items() if process.poll() is None]
        for name, process in processes.items():
            if process.poll() and name not in failed:
                failed.append(name)
        watch()
        if (failed and at_once) or (stopper is not None and stopper.requested):
            break
        if failed and deadline is None:
            deadline = time.monotonic() + grace_s
        if not running or (deadline is not None and time.monotonic() > deadline):
            break
        time.sleep(poll_s)
    return failed


def _blame(failed: list[str], processes: Processes, run: RunDir) -> DualnetError:
    """The error of the piece at fault, or of the one that best identifies it."""
    first = _culprit(failed, {name: process.returncode for name, process in processes.items()})
    code = processes[first].returncode
    if code < 0:
        name = signal.Signals(-code).name
        reason = f"ended by {name}"
        if -code == signal.SIGABRT:
            reason += " (BVLC Caffe calls abort() on invalid input)"
        elif -code in (signal.SIGBUS, signal.SIGSEGV):
            reason += " (often a damaged database, or one that was cut short while it was read)"
        elif -code == signal.SIGKILL:
            reason += " (by the user, or by the system's out-of-memory killer)"
        code = TrainingFailed.exit_code
    else:
        reason = f"exit code {code}"
        if code == StorageFailed.exit_code:
            # The output file may be empty for the same reason.
            reason += " (the disk is full or fails)"
    where = run.piece(first).output
    line = _telling_line(where) or _final_state(run.piece(first))
    if line.startswith(_ERROR):
        message = line[len(_ERROR) :]
        # Some name their piece by themselves.
        return _Failed(message if message.startswith(f"{first}: ") else f"{first}: {message}", code)
    return _Failed(f"{first}: {reason}; {line or 'no output'} (more in {where})", code)


def _culprit(failed: Sequence[str], codes: Mapping[str, Optional[int]]) -> str:
    """Which of several failed pieces to believe.

    One that failed by itself comes before those that only saw a neighbour hang (72), and these
    before those that were notified of a failure elsewhere (71). A piece that hangs does not end: of
    those that saw a neighbour hang, one whose neighbour still runs names the right one.

    Args:
        failed: Names of those that failed, in this order.
        codes: Name to exit code of all pieces in the order of the chain, None while it runs.
    """
    chain = list(codes)

    def is_beside_a_running_one(name: str) -> bool:
        place = chain.index(name)
        return any(codes[chain[i]] is None for i in (place - 1, place + 1) if 0 <= i < len(chain))

    def rank(name: str) -> int:
        if codes[name] == NeighbourDied.exit_code:
            return 3
        if codes[name] != NeighbourHung.exit_code:
            return 0
        return 1 if is_beside_a_running_one(name) else 2

    return min(failed, key=rank)


def _end(processes: Processes, grace_s: float) -> None:
    """End the pieces that still run: SIGTERM to all, and SIGKILL to those left after `grace_s`."""
    running = [process for process in processes.values() if process.poll() is None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + grace_s
    try:
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass  # killed below
    finally:
        # Also when a second Ctrl-C cuts the waiting short.
        for process in running:
            _kill(process)


def _final_state(piece: PieceDir) -> str:
    """The final state in a piece's heartbeat, which needs no new room on a full disk."""
    state = peek(piece.run.path).piece(piece.name).state
    return state if state.startswith("failed") else ""


def _telling_line(path: str) -> str:
    """The line of a piece's output that says why it ended, or "" if there is no output.

    That is the command's own last line, with those indented below it, or the glog line before BVLC
    Caffe's stack trace (without its prefix), or where Python was when a signal came, or just the
    last one with text in it.
    """
    with open(path, "rb", opener=regular_only) as file:
        file.seek(max(0, os.path.getsize(path) - 16384))
        text = [line.rstrip() for line in file.read().decode(errors="replace").splitlines()]
    text = [line for line in text if line]
    for number in range(len(text) - 1, -1, -1):
        if text[number].startswith(_ERROR):
            more = takewhile(lambda line: line.startswith("  "), text[number + 1 :])
            return "\n".join([text[number], *more])
    lines = [line.strip() for line in text]
    for i, line in enumerate(lines):
        if _GLOG_FATAL.match(line):
            return _GLOG_FATAL.sub("", line)
        if line.startswith(_CRASH):
            return next((f"{line}, at {at}" for at in lines[i:] if at.startswith('File "')), line)
    return lines[-1] if lines else ""
