"""Train a chain of pieces, or the uncut net, as processes of this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Callable, Optional

from dualnet import config as cfg
from dualnet.api.results import Run
from dualnet.config import Config
from dualnet.config.chain import SINGLE
from dualnet.config.provider import use_provider
from dualnet.errors import UsageError
from dualnet.process.stopping import Stopper
from dualnet.rundir import RunDir

__all__ = ["chosen_run_dir", "train", "train_under"]

Say = Callable[[str], None]


def train(
    config: str,
    run_dir: Optional[str] = None,
    settings: Sequence[str] = (),
    restarts: int = 0,
    single: bool = False,
    say: Say = lambda line: None,
) -> Run:
    """Train all pieces of a config here, each as a process of its own, and wait for them.

    Progress is shown on standard error. The same call on the same run directory continues a
    training that was interrupted, from its last checkpoint.

    Args:
        config: The YAML file.
        run_dir: Where the run goes; default runs/NAME-TIME.
        settings: What replaces keys of the config, each as "train.max_iter=100".
        restarts: How often pieces that died may be started again, in all.
        single: Train the uncut net instead.
        say: Told what happens, a line at a time.

    Returns:
        The run.

    Raises:
        ConfigError: The config, or what it names, cannot be trained.
        DualnetError: A piece failed, see `dualnet.errors`; the message is the piece's own.
        KeyboardInterrupt: Ctrl-C; all pieces have ended.

    Example:
        >>> run = dualnet.train("configs/digits.yaml", settings=["train.max_iter=300"])
        >>> run.evaluate()["accuracy"]
        0.9611
    """
    with Stopper(0.0) as stopper:
        stopper.defer()
        return train_under(stopper, config, run_dir, settings, restarts, single, say)


def train_under(
    stopper: Stopper,
    config: str,
    run_dir: Optional[str],
    settings: Sequence[str],
    restarts: int = 0,
    single: bool = False,
    say: Say = lambda line: None,
) -> Run:
    """As `train`, for a caller that takes signals already and has deferred them.

    Args:
        stopper: Knows whether a signal asks to stop.
        config, run_dir, settings, restarts, single, say: As of `train`.

    Raises:
        Stopped: A signal has ended it; its exit code is 0 if the same command continues.
    """
    loaded = cfg.load(config, settings)
    use_provider(loaded)
    stopper.within_s = loaded.train.stop_within_s
    run = chosen_run_dir(run_dir, loaded)
    from dualnet.training.start.claim import alone

    with alone(loaded, run, stopper.fs):
        _train(stopper, config, loaded, run, settings, restarts, single, say)
    return Run(run.path)


def chosen_run_dir(asked: Optional[str], config: Config) -> RunDir:
    """The directory that was asked for, else one named after the config and the time."""
    return RunDir(asked or cfg.default_run_dir(config, time.strftime("%Y%m%d-%H%M%S")))


def _train(
    stopper: Stopper,
    config: str,
    loaded: Config,
    run: RunDir,
    settings: Sequence[str],
    restarts: int,
    single: bool,
    say: Say,
) -> None:
    from dualnet.training.net.resolve import resolve
    from dualnet.training.start.claim import claim
    from dualnet.training.start.cores import share
    from dualnet.training.start.launch import launch
    from dualnet.training.start.progress import LogWatcher

    names = (SINGLE,) if single else loaded.names
    resolved = [resolve(loaded, run.piece(name)) for name in names]
    shared = [] if single else share(loaded)
    # As the pieces will find it: what they would refuse is refused before they start.
    claim(cfg.load(config, [*settings, *shared]), *resolved, fs=stopper.fs)
    can_go_on = all(one.solver.snapshot > 0 for one in resolved)
    if restarts and not can_go_on:
        raise UsageError(
            f"--restarts {restarts}: without checkpoints no piece can be started again; "
            "set train.snapshot"
        )
    watcher = LogWatcher([*map(run.piece, names)], resolved[0].max_iter)
    arguments = [config, "--run-dir", run.path]
    for setting in [*settings, *shared]:
        arguments += ["--set", setting]
    say(f"training {_in_words(names)} in {run}")
    try:
        stopper.defers_first_signal = can_go_on
        stopper.resume()
        launch(run, names, arguments, watcher.update, restarts=restarts, stopper=stopper)
    finally:
        watcher.close()
    say(f"trained {_in_words(names)}; see dualnet evaluate {run}, dualnet plot {run} -o FILE.png")


def _in_words(names: Sequence[str]) -> str:
    """`single`, `net1 and net2`, `net1 to net3`."""
    if len(names) < 3:
        return " and ".join(names)
    return f"{names[0]} to {names[-1]}"
