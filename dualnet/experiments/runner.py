"""Makes the runs of an experiment, each in its own processes; completed runs are skipped."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable, Optional

from dualnet import config as cfg
from dualnet.config.chain import SINGLE
from dualnet.errors import DualnetError, UsageError
from dualnet.experiments.plan import Experiment, Variant
from dualnet.process.lifeline import Lifeline
from dualnet.report.parse import parse_log
from dualnet.rundir import RunDir

__all__ = ["Outcome", "outcomes", "run_all"]

#: The error of a run that diverged, which is a result of the experiment and no failure.
_DIVERGED = re.compile(r"the loss is \S+ at iteration (\d+)")


@dataclass(frozen=True)
class Outcome:
    """One run of an experiment.

    Attributes:
        variant: What was run.
        seed: Its seed.
        run: Where.
        diverged_at: Iteration of the first loss that was NaN or infinite, or None.
    """

    variant: Variant
    seed: int
    run: RunDir
    diverged_at: Optional[int] = None


def run_dir_of(experiment: Experiment, variant: Variant, seed: int, root: str) -> RunDir:
    """Where a run is."""
    return RunDir(os.path.join(root, experiment.name, f"{variant.name}-seed{seed}"))


def outcomes(experiment: Experiment, root: str) -> list[Outcome]:
    """The completed runs, in the order of the experiment's file."""
    found = []
    for variant, seed in _grid(experiment):
        run = run_dir_of(experiment, variant, seed, root)
        diverged_at = _diverged_at(run)
        if diverged_at is not None or _is_complete(experiment, variant, run):
            found.append(Outcome(variant, seed, run, diverged_at))
    return found


def run_all(
    experiment: Experiment,
    root: str,
    say: Callable[[str], None],
    on_done: Callable[[], None] = lambda: None,
) -> None:
    """Make every run that is not complete, seed by seed: a stop leaves whole comparisons.

    Args:
        experiment: What is to be run.
        root: Directory of all experiments' runs.
        say: Called with a line for each run.
        on_done: Called after each run.

    Raises:
        DualnetError: A run failed for another reason than a loss that was NaN or infinite.
    """
    _check(experiment)
    grid = list(_grid(experiment))
    for number, (variant, seed) in enumerate(grid, 1):
        run = run_dir_of(experiment, variant, seed, root)
        where = f"[{number}/{len(grid)}] {experiment.name}: {variant.name}, seed {seed}"
        if _diverged_at(run) is not None or _is_complete(experiment, variant, run):
            say(f"{where}: done before")
            continue
        say(where)
        # The pieces of a seed begin with these weights by themselves.
        weights = _initial(experiment, seed, root) if variant.command == "single" else []
        _run(experiment, variant, seed, run, weights)
        on_done()


def _grid(experiment: Experiment) -> Iterator[tuple[Variant, int]]:
    for seed in experiment.seeds:
        for variant in experiment.variants:
            yield variant, seed


def _check(experiment: Experiment) -> None:
    """Validate all configurations before the first run starts."""
    remedy = "experiments run in the repository, or in a folder of dualnet new DIR --example all"
    if experiment.variants and not os.path.isfile(experiment.config):
        raise UsageError(f"{experiment.name}: {experiment.config}: no such file here; {remedy}")
    for variant in experiment.variants:
        overrides = [*experiment.overrides, *variant.overrides]
        loaded = cfg.load(experiment.config, overrides)
        for name in _pieces(experiment, variant):
            if not os.path.isfile(loaded.piece(name).solver):
                raise UsageError(
                    f"{experiment.config}: {name}.solver: {loaded.piece(name).solver}: no such "
                    f"file; {remedy}"
                )


def _initial(experiment: Experiment, seed: int, root: str) -> list[str]:
    """Weights that the single net and the pieces of a seed begin with; made once."""
    directory = os.path.join(root, experiment.name, f"initial-seed{seed}")
    names = cfg.load(experiment.config, experiment.overrides).names
    paths = [os.path.join(directory, f"{name}.caffemodel") for name in names]
    if not all(os.path.isfile(path) for path in paths):
        arguments = ["init", experiment.config, *names, "-o", directory]
        done = _dualnet([*arguments, *_sets([*experiment.overrides, f"seed={seed}"])])
        if done.returncode:
            raise DualnetError(f"{directory}: cannot write initial weights: {_last_line(done)}")
    return paths


def _run(
    experiment: Experiment, variant: Variant, seed: int, run: RunDir, initial: list[str]
) -> None:
    overrides = [*experiment.overrides, *variant.overrides, f"seed={seed}"]
    if initial:
        overrides.append(f"train.weights=[{', '.join(initial)}]")
    if os.path.isdir(run) and not cfg.load(experiment.config, overrides).train.snapshot:
        shutil.rmtree(run)  # an interrupted run that has no checkpoint
    arguments = [variant.command, experiment.config, "--run-dir", run.path, *_sets(overrides)]
    done = _dualnet(arguments)
    if done.returncode and _diverged_at(run) is None:
        match = _DIVERGED.search(done.stderr)
        if match is None:
            raise DualnetError(f"{run}: the run failed: {_last_line(done)}")
        with open(run.diverged, "w", encoding="utf-8") as file:
            file.write(match.group(1))


def _sets(overrides: list[str]) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


def _dualnet(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    with Lifeline() as lifeline:
        # The errors are read here, so they do not go to the terminal.
        process = lifeline.start(arguments, stderr=subprocess.PIPE, text=True)
        try:
            _, errors = process.communicate()
        except BaseException:
            # SIGTERM and not SIGKILL: it has to end the processes that it started.
            process.terminate()
            process.wait()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, "", errors)


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"


def _diverged_at(run: RunDir) -> Optional[int]:
    try:
        with open(run.diverged, encoding="utf-8") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def _pieces(experiment: Experiment, variant: Variant) -> tuple[str, ...]:
    """The names of what a variant trains."""
    if variant.command == SINGLE:
        return (SINGLE,)
    return cfg.load(experiment.config, [*experiment.overrides, *variant.overrides]).names


def _is_complete(experiment: Experiment, variant: Variant, run: RunDir) -> bool:
    logs = [run.piece(name).log for name in _pieces(experiment, variant)]
    return all(os.path.isfile(log) and parse_log(log).done for log in logs)
