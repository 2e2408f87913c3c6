"""`dualnet train|single|net`, and `init`, which writes the weights that they begin with."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Optional

from dualnet import config
from dualnet.cli.cores import pin, share
from dualnet.cli.settings import add_config, load, run_dir
from dualnet.cli.terminal import say
from dualnet.config import Config
from dualnet.config.chain import SINGLE
from dualnet.errors import UsageError
from dualnet.process.lifeline import FLAG, stop_at_end_of_input
from dualnet.process.stopping import Stopper
from dualnet.rundir import RunDir

__all__ = ["add", "spelled_out"]

_NET = re.compile(r"net(\d+)")


def spelled_out(words: Sequence[str]) -> list[str]:
    """`net3 CONFIG …` as `net 3 CONFIG …`; processes of a run are started in this one word."""
    found = _NET.fullmatch(words[0]) if words else None
    return ["net", found[1], *words[1:]] if found else list(words)


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    summary = "train all pieces of the chain as processes on this machine"
    command = commands.add_parser("train", help=summary, description=summary)
    command.set_defaults(run=_train)
    _add_run(command)
    command.add_argument(
        "--restarts", type=int, default=0, metavar="N",
        help="start a piece that died or hangs again, N times at most in all (default: 0)",
    )  # fmt: skip
    summary = "train piece K of the chain; the others are started elsewhere"
    command = commands.add_parser(
        "net", help=f"{summary}; net1, net2, ... in one word, too", description=summary
    )
    command.set_defaults(run=_net)
    command.add_argument(
        "number", type=int, metavar="K", help="which piece: 1 has the data, the last one the loss"
    )
    _add_run(command, is_required=True)
    command.add_argument(
        "--of", type=int, metavar="N",
        help="refuse to train unless the chain has N pieces: for launchers that start N processes",
    )  # fmt: skip
    summary = "train the uncut net, the control of every run in pieces"
    command = commands.add_parser("single", help=summary, description=summary)
    command.set_defaults(run=_single)
    _add_run(command)
    command.add_argument(
        "--resume", action="store_true", help="fail if the run has no snapshot to continue from"
    )
    summary = "write the weights that nets begin with, one caffemodel a net"
    command = commands.add_parser("init", help=summary, description=summary)
    command.set_defaults(run=_init)
    add_config(command)
    command.add_argument(
        "names", nargs="+", metavar="PIECE", help="single, or a piece of the chain: net1, net2, ..."
    )
    command.add_argument("-o", "--output", required=True, metavar="DIR")
    _add_lifeline(command)


def _add_run(command: argparse.ArgumentParser, is_required: bool = False) -> None:
    """CONFIG, --set, --run-dir and the lifeline."""
    add_config(command)
    default = "" if is_required else " (default: runs/NAME-TIME)"
    command.add_argument(
        "--run-dir", required=is_required, metavar="DIR",
        help=f"directory of the run, shared by all pieces{default}",
    )  # fmt: skip
    _add_lifeline(command)


def _add_lifeline(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        FLAG, action="store_true", dest="heeds_input",
        help=argparse.SUPPRESS,  # dualnet train gives it to its pieces
    )  # fmt: skip


def _net(options: argparse.Namespace) -> None:
    with _setting_up(options) as stopper:
        loaded = load(options)
        _train_piece(options, loaded, _asked_for(options, loaded), stopper)


def _single(options: argparse.Namespace) -> None:
    with _setting_up(options) as stopper:
        _train_piece(options, load(options), SINGLE, stopper, options.resume)


def _asked_for(options: argparse.Namespace, loaded: Config) -> str:
    """The name of the piece that K means.

    Raises:
        UsageError: The chain has no such piece, or another number of pieces than was expected.
    """
    names = loaded.names
    has = f"{options.config} has {_count(names)}: {', '.join(names)}"
    if options.of not in (None, len(names)):
        raise UsageError(
            f"net {options.number}: one process for each of {options.of} pieces was started, but "
            f"{has}; start {len(names)} processes"
        )
    if not 1 <= options.number <= len(names):
        raise UsageError(f"net {options.number}: {has}; K is 1 to {len(names)}")
    return names[options.number - 1]


def _train_piece(
    options: argparse.Namespace,
    loaded: Config,
    name: str,
    stopper: Stopper,
    resume: bool = False,
) -> None:
    """Train one piece in this process."""
    stopper.within_s = loaded.train.stop_within_s
    pin(loaded.piece(name))
    directory = run_dir(options, loaded)
    from dualnet.train.start.progress import follow
    from dualnet.train.start.run import train_piece

    session = train_piece(loaded, directory.piece(name), resume, follow, stopper)
    if session is None:
        say(f"{name} is complete already; {directory}")
        return
    say(f"trained {name} to iteration {session.iteration}{_accuracy(session)}; {directory}")


@contextmanager
def _setting_up(options: argparse.Namespace) -> Iterator[Stopper]:
    """Defer signals until the training begins: an interrupted import leaves half a module."""
    with Stopper(0.0) as stopper:
        stopper.defer()
        _heed_input(options)
        yield stopper


def _heed_input(options: argparse.Namespace) -> None:
    if options.heeds_input:
        stop_at_end_of_input()


def _accuracy(session: Any) -> str:
    accuracy: Optional[float] = session.test_outputs.get("accuracy")
    return "" if accuracy is None else f", test accuracy {accuracy:.4f}"


def _train(options: argparse.Namespace) -> None:
    with _setting_up(options) as stopper:
        loaded = load(options)
        stopper.within_s = loaded.train.stop_within_s
        from dualnet.train.start.claim import alone

        directory = run_dir(options, loaded)
        with alone(loaded, directory, stopper.fs):
            _train_all(options, loaded, directory, stopper)


def _train_all(
    options: argparse.Namespace, loaded: Config, directory: RunDir, stopper: Stopper
) -> None:
    from dualnet.train.net.resolve import resolve
    from dualnet.train.start.claim import claim
    from dualnet.train.start.launch import launch
    from dualnet.train.start.progress import LogWatcher

    pieces = [directory.piece(name) for name in loaded.names]
    resolved = [resolve(loaded, piece) for piece in pieces]
    shared = share(loaded)
    # With the overrides that the pieces get: what they would refuse is refused before they start.
    claim(config.load(options.config, [*options.overrides, *shared]), *resolved, fs=stopper.fs)
    can_go_on = all(one.solver.snapshot > 0 for one in resolved)
    if options.restarts and not can_go_on:
        raise UsageError(
            f"--restarts {options.restarts}: without checkpoints no piece can be started again; "
            "set train.snapshot"
        )
    watcher = LogWatcher({piece.name: piece.log for piece in pieces}, resolved[0].solver.max_iter)
    arguments = [options.config, "--run-dir", directory.path]
    for override in [*options.overrides, *shared]:
        arguments += ["--set", override]
    say(f"training {_in_words(loaded.names)} in {directory}")
    try:
        stopper.defers_first_signal = can_go_on
        stopper.resume()
        launch(
            directory, loaded.names, arguments, watcher.update,
            restarts=options.restarts, stopper=stopper,
        )  # fmt: skip
    finally:
        watcher.close()
    say(
        f"trained {_in_words(loaded.names)}; see dualnet evaluate {directory}, "
        f"dualnet plot {directory} -o FILE.png"
    )


def _in_words(names: Sequence[str]) -> str:
    """`single`, `net1 and net2`, `net1 to net3`."""
    if len(names) < 3:
        return " and ".join(names)
    return f"{names[0]} to {names[-1]}"


def _count(names: Sequence[str]) -> str:
    return f"{len(names)} piece" + ("s" if len(names) > 1 else "")


def _init(options: argparse.Namespace) -> None:
    _heed_input(options)
    loaded = load(options)
    for name in options.names:
        loaded.piece(name)
    from dualnet.train.net.initial import save_initial_weights

    for path in save_initial_weights(loaded, options.names, options.output, say):
        print(path)
