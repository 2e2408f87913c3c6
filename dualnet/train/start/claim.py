"""A run directory: whose it is, and what a start writes there, a full disk or not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Callable, Optional

from dualnet.atomic import create_atomically, write_atomically
from dualnet.config import CONFIG_NAME, Config, changed_keys, fixed_values, load
from dualnet.engine.formats.regular_file import regular_only
from dualnet.errors import ManifestMismatch, StorageFailed, UsageError
from dualnet.exchange import ExchangeSettings
from dualnet.exchange.disk.storage import remedy, wait_for_room
from dualnet.exchange.paths import ExchangePaths
from dualnet.exchange.run.occupancy import check_vacant, sole
from dualnet.fs import SYSTEM, Fs
from dualnet.train.checkpoint import commit
from dualnet.train.net.resolve import Resolved
from dualnet.train.start import identity
from dualnet.train.start.extension import check_length
from dualnet.train.start.identity import RunId
from dualnet.train.start.inputs import Fact, collect

__all__ = ["Claim", "alone", "claim", "exchange_settings", "log_path", "patience"]


@dataclass(frozen=True)
class Claim:
    """A run directory that is ours to train in.

    Attributes:
        run: the run's number, which its checkpoints name.
        facts: role to what it is made of.
        max_iter: role to how many iterations it is to make.
    """

    run: str
    facts: dict[str, list[Fact]]
    max_iter: dict[str, int]

    def record(self, run_dir: str, role: str, since: int = 0) -> None:
        """Write down what a role is made of, once it is known that its nets can be built.

        Args:
            run_dir: The directory.
            role: Whose inputs.
            since: See `identity.Inputs`.

        Raises:
            OSError: As the system says.
        """
        identity.write(run_dir, role, self.run, self.max_iter[role], self.facts[role], since=since)


def claim(config: Config, run_dir: str, *roles: Resolved, fs: Fs = SYSTEM) -> Claim:
    """Check that the run directory is this run's or nobody's, then leave number and config there.

    Where it refuses it has changed nothing. On a full disk it waits for room,
    `exchange.storage_timeout_s` at most.

    Args:
        config: The run.
        run_dir: Its directory, made where there is none.
        roles: Who is to train there, at least one.
        fs: All I/O that waits.

    Raises:
        ManifestMismatch: The directory holds another run: another config, or other inputs.
        UsageError: It holds a run of another kind, or another run's checkpoints, or what this role
            has trained there cannot go on.
        StorageFailed: It cannot be read or written.
    """
    kind = "single" if roles[0].role == "single" else "dual"
    with _reading(run_dir):
        facts = {resolved.role: collect(config, resolved) for resolved in roles}
        known = identity.read_run(run_dir)
        _check(config, run_dir, kind, known)
        for resolved in roles:
            if known is not None:
                _check_role(config, run_dir, known, resolved, facts[resolved.role])
            _check_start(run_dir, resolved)

    def prepare() -> None:
        try:
            os.makedirs(run_dir, exist_ok=True)
            identity.begin(run_dir, kind, roles[0].role)
            _leave_config(config, run_dir, roles[0].role)
        except OSError as error:
            raise StorageFailed(
                f"{run_dir}: cannot write the run directory: {error.strerror}; check the path and "
                "the disk"
            ) from error

    patience(config, fs=fs)(prepare)
    with _reading(run_dir):
        # Another half may have been faster.
        ours = identity.read_run(run_dir)
        _check(config, run_dir, kind, ours)
    if ours is None:
        raise ManifestMismatch(f"{run_dir}: {identity.RUN_NAME} is gone as soon as it was made")
    return Claim(ours.run, facts, {resolved.role: resolved.max_iter for resolved in roles})


@contextmanager
def _reading(run_dir: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFailed(
            f"cannot read {error.filename or run_dir}: {error.strerror}; {remedy(error)}"
        ) from error


def _check(config: Config, run_dir: str, kind: str, known: Optional[RunId]) -> None:
    """Check whose the directory is, and its config."""
    if known is None:
        _check_unclaimed(run_dir)
    elif known.kind != kind:
        names = {"single": "the uncut net (single)", "dual": "two halves (net1, net2)"}
        raise UsageError(
            f"{run_dir}: a run of {names[known.kind]}, and this is one of {names[kind]}; choose "
            "another run directory"
        )
    path = os.path.join(run_dir, CONFIG_NAME)
    if not os.path.exists(path):
        return
    is_dual = kind == "dual"
    changed = changed_keys(fixed_values(load(path), is_dual), fixed_values(config, is_dual))
    if changed:
        key, before, now = changed[0]
        more = f" ({len(changed) - 1} more keys differ)" if len(changed) > 1 else ""
        raise ManifestMismatch(
            f"{path}: another configuration runs here: {key} is {now}, was {before} when this run "
            f"began{more}; change it back, give both halves the same CONFIG and --set, or choose "
            "another run directory"
        )


def _check_unclaimed(run_dir: str) -> None:
    """Without a number, nobody can tell whose checkpoints and messages are."""
    left = [
        commit.record_path(run_dir, role, iteration)
        for role in ("single", "net1", "net2")
        for iteration in commit.iterations(run_dir, role)
    ]
    manifest = ExchangePaths.of_run(run_dir).manifest
    if os.path.exists(manifest):
        left.append(manifest)
    if left:
        raise UsageError(
            f"{left[0]}: left by a run, but {run_dir} has no {identity.RUN_NAME} to say which (as "
            "a version of dualnet before that left it); put it back, or choose another run "
            "directory, and name caffemodels in train.weights to begin with these weights"
        )


def _check_role(
    config: Config, run_dir: str, known: RunId, resolved: Resolved, facts: list[Fact]
) -> None:
    """Check that a role is made of what it was, and that its checkpoints are its own."""
    role = resolved.role
    commit.check_owner(run_dir, role, known.run)
    before = identity.read_inputs(run_dir, role)
    if before is None:
        return
    if (before.run, before.role) != (known.run, role):
        raise ManifestMismatch(
            f"{run_dir}: {role}_inputs.json is of {before.role} in run {before.run}, and not of "
            f"{role} in run {known.run}; put this run's own back, or choose another run directory"
        )
    identity.compare(run_dir, before, facts)
    check_length(config, run_dir, known, resolved, before)


def _check_start(run_dir: str, resolved: Resolved) -> None:
    """Check that a role that has trained here can go on."""
    role = resolved.role
    log = log_path(run_dir, role)
    can_go_on = resolved.solver.snapshot > 0 or (
        commit.latest(run_dir, role) is not None
        if role == "single"
        else commit.complete(run_dir, role)
    )
    if not can_go_on and _has_begun(log):
        raise UsageError(
            f"{run_dir}: {role} has trained here already ({log}) and left no checkpoint to go on "
            "from; choose another run directory, and set train.snapshot to have checkpoints"
        )


def _leave_config(config: Config, run_dir: str, role: str) -> None:
    """Write config.yaml where there is none; where there is one, its length may be another now."""
    path = os.path.join(run_dir, CONFIG_NAME)
    if not os.path.exists(path):
        create_atomically(path, config.to_yaml().encode(), owner=role)
        return
    before = load(path)
    if before.train.max_iter != config.train.max_iter:
        train = replace(before.train, max_iter=config.train.max_iter)
        write_atomically(path, replace(before, train=train).to_yaml().encode(), owner=role)


@contextmanager
def alone(config: Config, run_dir: str, fs: Fs = SYSTEM) -> Iterator[None]:
    """Start both halves: the only one that does, of a run whose halves do not run.

    Raises:
        Superseded: Somebody does, or one of them runs; nothing was touched.
        StorageFailed: That cannot be found out.
    """
    settings = exchange_settings(config)
    with sole(run_dir, "training", settings, fs):
        check_vacant(run_dir, settings, fs=fs)
        yield


def exchange_settings(config: Config, **more: Any) -> ExchangeSettings:
    """What the config says of the exchange, but for the carrier.

    Args:
        config: The run.
        **more: What it does not say, or shall not.
    """
    values = {key: value for key, value in vars(config.exchange).items() if key != "carrier"}
    return ExchangeSettings(**{**values, **more})


def _has_begun(log: str) -> bool:
    """Whether a training has begun here, and not just found no room or no partner."""
    try:
        with open(log, "rb", opener=regular_only) as file:
            return any(b"] Solving " in line for line in file)
    except FileNotFoundError:
        return False


def patience(
    config: Config, on_blocked: Callable[[str], None] = lambda state: None, fs: Fs = SYSTEM
) -> Callable[[Callable[[], Any]], Any]:
    """Runs what a start writes, with patience while the disk is full."""
    timeout_s = config.exchange.storage_timeout_s
    return partial(wait_for_room, timeout_s=timeout_s, on_blocked=on_blocked, fs=fs)


def log_path(run_dir: str, role: str) -> str:
    """The role's log, in Caffe's format."""
    return os.path.join(run_dir, f"{role}.log")
