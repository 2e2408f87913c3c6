"""The `dualnet` command: one module of this package for each family of subcommands."""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
import threading
from functools import partial
from typing import Any, Optional

from dualnet import __version__, children
from dualnet.cli import (
    bench,
    caffe,
    completion,
    cut,
    data,
    doctor,
    experiment,
    export,
    nets,
    new,
    plan,
    runs,
    training,
)
from dualnet.cli.parser import Parser
from dualnet.cli.provider import missing_torch
from dualnet.cli.terminal import flush_or_discard_stderr, say
from dualnet.errors import DualnetError, OutOfMemory, StorageFailed, UsageError
from dualnet.process.stopping import STOP_SIGNALS, Stopped, restore_defaults
from dualnet.scarcity import disk_fault, is_scarcity, lacks_files

__all__ = ["main"]

EXAMPLES = """examples:
  dualnet new my-net && cd my-net            a folder with an example, ready to train
  dualnet train                              its net, all pieces on this machine
  dualnet data digits                        write the digits data set to data/digits
  dualnet train configs/digits.yaml          train what another YAML file says
  dualnet net 1 configs/cifar10.yaml --run-dir runs/a    one piece here, and on the other node:
  dualnet net 2 configs/cifar10.yaml --run-dir runs/a
  dualnet single configs/cifar10.yaml --set train.max_iter=500
  dualnet status runs/a --watch              what all pieces are doing
  dualnet evaluate runs/a                    {"accuracy": ..., "loss": ..., "samples": ...}
  dualnet plot runs/a runs/b -o losses.png
"""

_SCARCE = (
    "this machine has no memory left: lower train.batch_size or end other programs, or raise the "
    "limit that ulimit -v or the batch system sets; then start the same command again"
)

_FILES = "raise the limit of open files (ulimit -n), then start the same command again"

_NOT_UTF8 = "is not UTF-8, which prototxt, YAML and databases need; choose another name"


def _terminate(number: int, frame: Any) -> None:
    # As an exception, so that a piece can notify its neighbours, and `train` end its pieces.
    raise Stopped(number)


def main(arguments: Optional[list[str]] = None) -> int:
    """Run one command; returns the exit code, see dualnet/errors.py."""
    if arguments is not None:
        return _main(arguments)
    children.adopt()
    code = 1  # of an error that nobody has foreseen
    try:
        try:
            code = _main(sys.argv[1:])
        finally:  # the process ends: what comes now comes too late
            _handle_stops(signal.SIG_IGN)
            _handle_interrupts(signal.SIG_IGN)
    except Stopped as error:  # between two of our lines
        code = error.exit_code
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    finally:
        children.watch_exit(code, say)
    flush_or_discard_stderr()
    return code


def _main(words: list[str]) -> int:
    if words[:1] == ["caffe"]:
        return caffe.run(words[1:])  # its flags are gflags', with one dash or two
    forget = children.undo_in_children(partial(restore_defaults, [_terminate]))
    try:
        code = _run(words)
    finally:
        forget()
    flush_or_discard_stderr()
    return code


def _name_crashes() -> None:
    """Have Python say where it was when a signal like SIGBUS ends it, as over a damaged LMDB."""
    try:
        faulthandler.enable()
    except (OSError, RuntimeError, ValueError):
        pass  # standard error is closed, or stands for no file: nobody would read it


def _handle_stops(handler: Any) -> None:
    if threading.current_thread() is threading.main_thread():
        for number in STOP_SIGNALS:
            signal.signal(number, handler)


def _handle_interrupts(handler: Any) -> None:
    """Take Ctrl-C, unless it is ignored, as by a shell's background job."""
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)


def _run(words: list[str]) -> int:
    try:
        _handle_interrupts(signal.default_int_handler)
        for word in words:
            if not _is_utf8(word):
                raise UsageError(f"{word!r} {_NOT_UTF8}")
        parser = _parser()
        completion.complete(parser)
        options = parser.parse_args(training.spelled_out(words))
        _name_crashes()
        _handle_stops(_terminate)
        options.run(options)
    except DualnetError as error:
        if is_scarcity(error):  # what else it asks for would not help
            say(f"dualnet: {error}; {_SCARCE}")
            return OutOfMemory.exit_code
        say(f"dualnet: {error}")
        # A file that cannot be read for a failing disk is no wrong configuration.
        is_fault = error.exit_code == 2 and disk_fault(error) is not None
        return StorageFailed.exit_code if is_fault else error.exit_code
    except KeyboardInterrupt:
        say("dualnet: interrupted")
        return 128 + signal.SIGINT
    except Stopped as error:
        # Several signals may come, from the batch system and from the launcher. The shutdown is
        # complete: ignore them.
        _handle_stops(signal.SIG_IGN)
        say(f"dualnet: {error}")
        return error.exit_code
    except BrokenPipeError:
        # `dualnet status | head`: nobody reads on, which is no error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UnicodeEncodeError as error:
        # A name that the system gave us as bytes, of the working directory for example.
        say(f"dualnet: {error.object[max(0, error.start - 40) : error.start + 40]!r} {_NOT_UTF8}")
        return 2
    except Exception as error:
        # A ValueError is about what was asked for, as a layer larger than the machine.
        if is_scarcity(error) and not isinstance(error, ValueError):
            say(f"dualnet: {_in_one_line(error)}; {_SCARCE}")
            return OutOfMemory.exit_code
        if lacks_files(error):
            say(f"dualnet: {_in_one_line(error)}; {_FILES}")
            return StorageFailed.exit_code
        needs_torch = missing_torch(error)
        if needs_torch:
            say(f"dualnet: {needs_torch}")
            return UsageError.exit_code
        # The engine imports nothing of dualnet.errors; its own errors are one line, too.
        from dualnet.engine.errors import CaffeError

        if not isinstance(error, CaffeError):
            raise
        say(f"dualnet: {error}")
        return 2 if disk_fault(error) is None else StorageFailed.exit_code
    return 0


def _is_utf8(text: str) -> bool:
    """Whether a word that the system gave us is text, and not just bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _in_one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="dualnet",
        description="Train a convolutional network in pieces, each on a node of its own.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dualnet {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    families = (
        new, training, runs, cut, nets, export, plan, data, experiment, bench, caffe, doctor,
        completion,
    )  # fmt: skip
    for family in families:
        family.add(commands)
    return parser
