"""`dualnet single|train|net1|net2`, and `init`, which writes what they begin with."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dualnet import config
from dualnet.cli.cores import pin, share
from dualnet.cli.settings import add_config, load, run_dir
from dualnet.cli.terminal import say
from dualnet.config import Config
from dualnet.errors import UsageError
from dualnet.process.lifeline import FLAG, stop_at_end_of_input
from dualnet.process.stopping import Stopper
from dualnet.rundir import RunDir

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    for name, run, summary in (
        ("single", _single, "train the uncut net, the control of every dual run"),
        ("train", _train, "train net1 and net2 as two processes on this machine"),
        ("net1", _half, "train the lower half; net2 is started elsewhere"),
        ("net2", _half, "train the upper half; net1 is started elsewhere"),
    ):
        command = commands.add_parser(name, help=summary, description=summary)
        command.set_defaults(run=run, role=name)
        add_config(command)
        command.add_argument(
            "--run-dir", required=name in ("net1", "net2"), metavar="DIR",
            help="directory of the run, shared by both halves (default: runs/NAME-TIME)",
        )  # fmt: skip
        if name == "single":
            command.add_argument(
                "--resume", action="store_true",
                help="fail if the run has no snapshot to continue from",
            )  # fmt: skip
        _add_lifeline(command)
        if name == "train":
            command.add_argument(
                "--restarts", type=int, default=0, metavar="N",
                help="start a half that died again, N times at most (default: 0)",
            )  # fmt: skip
    summary = "write the weights that nets begin with, one caffemodel a net"
    command = commands.add_parser("init", help=summary, description=summary)
    command.set_defaults(run=_init)
    add_config(command)
    command.add_argument("roles", nargs="+", choices=("single", "net1", "net2"), metavar="ROLE")
    command.add_argument("-o", "--output", required=True, metavar="DIR")
    _add_lifeline(command)


def _add_lifeline(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        FLAG, action="store_true", dest="heeds_input",
        help="stop as on SIGTERM when standard input ends: it comes from who started this",
    )  # fmt: skip


def _single(options: argparse.Namespace) -> None:
    with _setting_up() as stopper:
        _heed_input(options)
        loaded = load(options)
        stopper.within_s = loaded.train.stop_within_s
        pin(loaded.single)
        directory = run_dir(options, loaded)
        from dualnet.train.start.progress import follow
        from dualnet.train.start.run import train_single

        session = train_single(loaded, directory, options.resume, follow, stopper)
        if session is None:
            say(f"single is complete already; {directory}")
            return
        say(f"trained single to iteration {session.iteration}{_accuracy(session)}; {directory}")


def _half(options: argparse.Namespace) -> None:
    with _setting_up() as stopper:
        _heed_input(options)
        loaded = load(options)
        stopper.within_s = loaded.train.stop_within_s
        pin(loaded.piece(options.role))
        from dualnet.train.start.progress import follow
        from dualnet.train.start.run import train_half

        session = train_half(loaded, RunDir(options.run_dir).piece(options.role), follow, stopper)
        if session is None:
            say(f"{options.role} is complete already; {options.run_dir}")
            return
        say(f"trained {options.role} to iteration {session.iteration}{_accuracy(session)}")


@contextmanager
def _setting_up() -> Iterator[Stopper]:
    """Signals are put off until the training begins, an import that is cut in two fails oddly."""
    with Stopper(0.0) as stopper:
        stopper.defer()
        yield stopper


def _heed_input(options: argparse.Namespace) -> None:
    if options.heeds_input:
        stop_at_end_of_input()


def _accuracy(session: Any) -> str:
    accuracy = session.test_outputs.get("accuracy")
    return "" if accuracy is None else f", test accuracy {accuracy:.4f}"


def _train(options: argparse.Namespace) -> None:
    with _setting_up() as stopper:
        _heed_input(options)
        loaded = load(options)
        stopper.within_s = loaded.train.stop_within_s
        from dualnet.train.start.claim import alone

        directory = run_dir(options, loaded)
        with alone(loaded, directory, stopper.fs):
            _train_both(options, loaded, directory, stopper)


def _train_both(
    options: argparse.Namespace, loaded: Config, directory: RunDir, stopper: Stopper
) -> None:
    from dualnet.train.net.resolve import resolve
    from dualnet.train.start.claim import claim
    from dualnet.train.start.launch import launch
    from dualnet.train.start.progress import LogWatcher

    pieces = [directory.piece(role) for role in ("net1", "net2")]
    resolved = [resolve(loaded, piece) for piece in pieces]
    shared = share(loaded)
    # As the halves will find it: what they would refuse is refused before they start.
    claim(config.load(options.config, [*options.overrides, *shared]), *resolved, fs=stopper.fs)
    can_go_on = all(one.solver.snapshot > 0 for one in resolved)
    if options.restarts and not can_go_on:
        raise UsageError(
            f"--restarts {options.restarts}: without checkpoints no half can be started again; set "
            "train.snapshot"
        )
    watcher = LogWatcher({piece.name: piece.log for piece in pieces}, resolved[0].solver.max_iter)
    arguments = [options.config, "--run-dir", directory.path]
    for override in [*options.overrides, *shared]:
        arguments += ["--set", override]
    say(f"training net1 and net2 in {directory}")
    try:
        stopper.is_patient = can_go_on
        stopper.resume()
        launch(directory, arguments, watcher.look, restarts=options.restarts, stopper=stopper)
    finally:
        watcher.close()
    say(
        f"trained both halves; see dualnet evaluate {directory}, "
        f"dualnet plot {directory} -o FILE.png"
    )


def _init(options: argparse.Namespace) -> None:
    _heed_input(options)
    loaded = load(options)
    from dualnet.train.net.initial import save_initial_weights

    for path in save_initial_weights(loaded, options.roles, options.output, say):
        print(path)
