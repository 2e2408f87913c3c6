"""net1 and net2 as two processes of this machine: started, watched and ended together."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Callable, Optional

from dualnet.engine.formats.regular_file import regular_only
from dualnet.errors import (
    DamagedMessage,
    DualnetError,
    OutOfMemory,
    PartnerDied,
    PartnerHung,
    PartnerNeverCame,
    StorageFailed,
    TrainingFailed,
)
from dualnet.exchange.peek import peek
from dualnet.process.lifeline import Lifeline
from dualnet.process.stopping import Stopped, Stopper
from dualnet.rundir import PieceDir, RunDir

__all__ = ["launch"]

ROLES = ("net1", "net2")

#: Exit codes of halves that are worth another start.
_PASSING = {
    error.exit_code
    for error in (
        PartnerNeverCame,
        PartnerDied,
        PartnerHung,
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
    """A half ended with an exit code of its own, which is passed on."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def launch(
    run: RunDir,
    arguments: Sequence[str],
    watch: Callable[[], None],
    grace_s: float = 10.0,
    poll_s: float = 0.2,
    restarts: int = 0,
    stopper: Optional[Stopper] = None,
) -> None:
    """Run both halves to their end.

    Args:
        run: Where their output goes.
        arguments: What follows `dualnet net1` and `dualnet net2` on the command line.
        watch: Called now and then, to show progress.
        grace_s: How long the surviving half may take to notice the other's end and say why, and
            a terminated one to end, before it is killed.
        poll_s: Time between two looks at the processes.
        restarts: How often halves that died may be started again, in all.
        stopper: Knows whether a signal asks to stop; the halves are then asked to.

    Raises:
        Stopped: They did.
        DualnetError: A half failed; the message is that of the half that failed first, the exit
            code is its own.
    """
    processes: dict[str, subprocess.Popen[bytes]] = {}
    with Lifeline() as lifeline:
        start = partial(_start, arguments=arguments, lifeline=lifeline)
        try:
            # No signal comes between the start of a process and its place in the list.
            hold = stopper.held if stopper is not None else nullcontext
            for role in ROLES:
                with hold():
                    processes[role] = start(run.piece(role))
            while True:
                failed = _wait(processes, watch, grace_s, poll_s, restarts > 0, stopper)
                if stopper is not None and stopper.requested:
                    _stop(processes, watch, grace_s, poll_s, stopper)
                if not failed:
                    return
                if restarts == 0 or not all(_may_restart(processes[role]) for role in failed):
                    raise _blame(failed, processes, run)
                restarts -= 1
                with hold():
                    processes[failed[0]] = start(run.piece(failed[0]), again=True)
        finally:
            # Also on Ctrl-C and SIGTERM, an exception too (stopping.py): no half is left behind.
            _end(processes, grace_s)


def _may_restart(process: subprocess.Popen[bytes]) -> bool:
    """Whether a half ended by something that need not come again: a signal, the disk, its partner.

    Not by what it would meet again: its configuration, its loss, another copy of it.
    """
    return process.returncode < 0 or process.returncode in _PASSING


def _stop(
    processes: dict[str, subprocess.Popen[bytes]],
    watch: Callable[[], None],
    grace_s: float,
    poll_s: float,
    stopper: Stopper,
) -> None:
    """Ask both halves to stop and wait until they have.

    Raises:
        Stopped: In any case; its exit code is 0 if both can go on.
    """
    deadline = time.monotonic() + stopper.within_s + grace_s
    stopper.release()
    for process in processes.values():
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    while time.monotonic() < deadline and any(p.poll() is None for p in processes.values()):
        watch()
        time.sleep(poll_s)
    number = stopper.error().number
    if any(process.poll() != 0 for process in processes.values()):
        raise Stopped(number)
    raise Stopped(number, "the same command continues both halves")


def _start(
    piece: PieceDir, arguments: Sequence[str], lifeline: Lifeline, again: bool = False
) -> subprocess.Popen[bytes]:
    try:
        with open(piece.output, "ab" if again else "wb", opener=regular_only) as output:
            return lifeline.start([piece.name, *arguments], stdout=output, stderr=subprocess.STDOUT)
    except OSError as error:
        raise StorageFailed(f"{piece.run}: cannot start {piece.name}: {error.strerror}") from error


def _wait(
    processes: dict[str, subprocess.Popen[bytes]],
    watch: Callable[[], None],
    grace_s: float,
    poll_s: float,
    at_once: bool,
    stopper: Optional[Stopper],
) -> list[str]:
    """Wait until both have ended, or a signal asks to stop.

    Args:
        at_once: Return as soon as a half has failed; else the other one gets `grace_s` to notice.

    Returns:
        The roles of those that failed, in this order.
    """
    failed: list[str] = []
    deadline: Optional[float] = None
    while True:
        running = [role for role, process in processes.items() if process.poll() is None]
        for role, process in processes.items():
            if process.poll() and role not in failed:
                failed.append(role)
        watch()
        if (failed and at_once) or (stopper is not None and stopper.requested):
            break
        if failed and deadline is None:
            deadline = time.monotonic() + grace_s
        if not running or (deadline is not None and time.monotonic() > deadline):
            break
        time.sleep(poll_s)
    return failed


def _blame(
    failed: list[str], processes: dict[str, subprocess.Popen[bytes]], run: RunDir
) -> DualnetError:
    """The error of the half that failed by itself, not of the one that noticed."""
    noticed = PartnerDied.exit_code
    first = next((role for role in failed if processes[role].returncode != noticed), failed[0])
    code = processes[first].returncode
    if code < 0:
        name = signal.Signals(-code).name
        reason = f"ended by {name}"
        if -code == signal.SIGABRT:
            reason += " (BVLC Caffe aborts on what it does not like)"
        elif -code in (signal.SIGBUS, signal.SIGSEGV):
            reason += " (often a damaged database, or one that was cut short while it was read)"
        elif -code == signal.SIGKILL:
            reason += " (by hand, or by the system for want of memory)"
        code = TrainingFailed.exit_code
    else:
        reason = f"exit code {code}"
        if code == StorageFailed.exit_code:
            reason += " (the disk is full or fails)"  # and may have no room for more words
    where = run.piece(first).output
    line = _telling_line(where) or _last_words(run.piece(first))
    if line.startswith(_ERROR):
        message = line[len(_ERROR) :]
        # Some name their half by themselves.
        return _Failed(message if message.startswith(f"{first}: ") else f"{first}: {message}", code)
    return _Failed(f"{first}: {reason}; {line or 'no output'} (more in {where})", code)


def _end(processes: dict[str, subprocess.Popen[bytes]], grace_s: float) -> None:
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
            if process.poll() is None:
                process.kill()
                process.wait()


def _last_words(piece: PieceDir) -> str:
    """What a half's heartbeat says of its end; a full disk has room for that, not for output."""
    state = peek(piece.run.path).halves[piece.name].state
    return state if state.startswith("failed") else ""


def _telling_line(path: str) -> str:
    """The line of a half's output that says why it ended, or "" if there is no output.

    That is the command's own last line, or the glog line before BVLC Caffe's stack trace (without
    its prefix), or where Python was when a signal came, or just the last one with text in it.
    """
    with open(path, "rb", opener=regular_only) as file:
        file.seek(max(0, os.path.getsize(path) - 16384))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    lines = [line for line in lines if line]
    for line in reversed(lines):
        if line.startswith(_ERROR):
            return line
    for i, line in enumerate(lines):
        if _GLOG_FATAL.match(line):
            return _GLOG_FATAL.sub("", line)
        if line.startswith(_CRASH):
            return next((f"{line}, at {at}" for at in lines[i:] if at.startswith('File "')), line)
    return lines[-1] if lines else ""
