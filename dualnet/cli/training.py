"""`dualnet train|single|net`, and `init`, which writes the weights that they begin with."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dualnet.api.training import chosen_run_dir, train_under
from dualnet.cli.settings import add_config, config_path, load
from dualnet.cli.terminal import say
from dualnet.config import Config
from dualnet.config.chain import SINGLE
from dualnet.errors import UsageError
from dualnet.process.lifeline import FLAG, stop_at_end_of_input
from dualnet.process.stopping import Stopper
from dualnet.training.start.cores import pin

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
    add_config(command, is_required=True)
    command.add_argument(
        "names", nargs="+", metavar="PIECE", help="single, or a piece of the chain: net1, net2, ..."
    )
    command.add_argument("-o", "--output", required=True, metavar="DIR")
    _add_lifeline(command)


def _add_run(command: argparse.ArgumentParser, is_required: bool = False) -> None:
    """CONFIG, --set, --run-dir and the lifeline."""
    # Behind another positional, argparse does not find an optional CONFIG that comes after options.
    add_config(command, is_required)
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
    directory = chosen_run_dir(options.run_dir, loaded)
    from dualnet.training.start.progress import follow
    from dualnet.training.start.run import train_piece

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
    from dualnet.report.accuracy import accuracy_name

    name = accuracy_name(session.test_outputs)
    return "" if name is None else f", test accuracy {session.test_outputs[name]:.4f}"


def _train(options: argparse.Namespace) -> None:
    with _setting_up(options) as stopper:
        train_under(
            stopper, config_path(options), options.run_dir, options.overrides, options.restarts,
            say=say,
        )  # fmt: skip


def _count(names: Sequence[str]) -> str:
    return f"{len(names)} piece" + ("s" if len(names) > 1 else "")


def _init(options: argparse.Namespace) -> None:
    _heed_input(options)
    loaded = load(options)
    for name in options.names:
        loaded.piece(name)
    from dualnet.training.net.initial import save_initial_weights

    for path in save_initial_weights(loaded, options.names, options.output, say):
        print(path)
