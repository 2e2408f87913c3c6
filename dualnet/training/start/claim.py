"""A run directory: whose it is, and what a start writes there, a full disk or not."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Callable, Optional

from dualnet.atomic import create_atomically, write_atomically
from dualnet.config import Config, changed_keys, fixed_values, load
from dualnet.config.chain import SINGLE
from dualnet.engine.formats.regular_file import regular_only
from dualnet.errors import ManifestMismatch, StorageFailed, UsageError
from dualnet.exchange import ExchangeSettings
from dualnet.exchange.disk.storage import remedy, wait_for_room
from dualnet.exchange.paths import RunPaths
from dualnet.exchange.run.occupancy import check_vacant, sole
from dualnet.fs import SYSTEM, Fs
from dualnet.report import tensorboard
from dualnet.rundir import PieceDir, RunDir
from dualnet.training.checkpoint import commit
from dualnet.training.net.resolve import Resolved
from dualnet.training.start import identity
from dualnet.training.start.data_there import require_data
from dualnet.training.start.extension import check_length
from dualnet.training.start.identity import RunId
from dualnet.training.start.inputs import Fact, collect

__all__ = ["Claim", "alone", "claim", "exchange_settings", "disk_full_retrier"]


@dataclass(frozen=True)
class Claim:
    """A run directory that is ours to train in.

    Attributes:
        run: the run's number, which its checkpoints name.
        facts: each piece to what it is made of.
        max_iter: each piece to how many iterations it is to make.
    """

    run: str
    facts: dict[str, list[Fact]]
    max_iter: dict[str, int]

    def data(self, piece: PieceDir) -> list[dict[str, str]]:
        """What the files hold that a piece's net reads, for the record of its lives."""
        return [
            {"path": fact.where, "for": fact.what, "holds": fact.value}
            for fact in self.facts[piece.name]
            if fact.is_content
        ]

    def record(self, piece: PieceDir, since: int = 0) -> None:
        """Write down what a piece is made of, once it is known that its nets can be built.

        Args:
            piece: Whose inputs.
            since: See `identity.Inputs`.

        Raises:
            OSError: As the system says.
        """
        max_iter, facts = self.max_iter[piece.name], self.facts[piece.name]
        identity.write(piece, self.run, max_iter, facts, since=since)


def claim(config: Config, *pieces: Resolved, fs: Fs = SYSTEM) -> Claim:
    """Check that the run directory is this run's or nobody's, then leave number and config there.

    Where it refuses it has changed nothing. On a full disk it waits for room,
    `exchange.storage_timeout_s` at most.

    Args:
        config: The run.
        pieces: Which are to train, at least one; their directory is made where there is none.
        fs: All I/O that waits.

    Raises:
        ConfigError: `tracking` needs a package that is not installed.
        ManifestMismatch: The directory holds another run: another config, or other inputs.
        UsageError: It holds a run of another kind, or another run's checkpoints, or what this piece
            has trained there cannot be continued.
        ConfigError: Data to train on are not there.
        StorageFailed: It cannot be read or written.
    """
    if config.tracking == "tensorboard":
        tensorboard.check_installed()
    first = pieces[0].dir
    run, kind = first.run, "single" if first.name == "single" else "dual"
    with _reading(run):
        facts = {resolved.name: collect(config, resolved) for resolved in pieces}
        known = identity.read_run(run)
        _check(config, run, kind, known)
        for resolved in pieces:
            if known is not None:
                _check_piece(config, known, resolved, facts[resolved.name])
            _check_start(resolved)
            require_data(resolved)

    def prepare() -> None:
        try:
            os.makedirs(run, exist_ok=True)
            identity.begin(first, kind)
            _leave_config(config, first)
        except OSError as error:
            raise StorageFailed(
                f"{run}: cannot write the run directory: {error.strerror}; check the path and "
                "the disk"
            ) from error

    disk_full_retrier(config, fs=fs)(prepare)
    with _reading(run):
        # Another piece may have been faster.
        ours = identity.read_run(run)
        _check(config, run, kind, ours)
    if ours is None:
        raise ManifestMismatch(f"{run.identity}: gone as soon as it was made")
    return Claim(ours.run, facts, {resolved.name: resolved.max_iter for resolved in pieces})


@contextmanager
def _reading(run: RunDir) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFailed(
            f"cannot read {error.filename or run}: {error.strerror}; {remedy(error)}"
        ) from error


def _check(config: Config, run: RunDir, kind: str, known: Optional[RunId]) -> None:
    """Check whose the directory is, and its config."""
    chain = config.names if len(config.names) > 1 else ("net1", "net2")
    if known is None:
        _check_unclaimed(run, chain)
    elif known.kind != kind:
        names = {"single": "the uncut net (single)", "dual": f"a chain ({', '.join(chain)})"}
        raise UsageError(
            f"{run}: a run of {names[known.kind]}, and this is one of {names[kind]}; choose "
            "another run directory"
        )
    path = run.config
    if not os.path.exists(path):
        return
    is_dual = kind == "dual"
    changed = changed_keys(fixed_values(load(path), is_dual), fixed_values(config, is_dual))
    if changed:
        key, before, now = changed[0]
        more = f" ({len(changed) - 1} more keys differ)" if len(changed) > 1 else ""
        raise ManifestMismatch(
            f"{path}: another configuration runs here: {key} is {now}, was {before} when this run "
            f"began{more}; change it back, give all pieces the same CONFIG and --set, or choose "
            "another run directory"
        )


def _check_unclaimed(run: RunDir, chain: Sequence[str]) -> None:
    """Refuse checkpoints and messages in a directory without a run's number: whose are they?"""
    left = [
        piece.at(iteration).record
        for piece in map(run.piece, (SINGLE, *chain))
        for iteration in commit.iterations(piece)
    ]
    manifest = RunPaths(run.exchange).manifest
    if os.path.exists(manifest):
        left.append(manifest)
    if left:
        raise UsageError(
            f"{left[0]}: left by a run, but {run} has no {os.path.basename(run.identity)} to say "
            "which (as a version of dualnet before that left it); put it back, or choose another "
            "run directory, and name caffemodels in train.weights to begin with these weights"
        )


def _check_piece(config: Config, known: RunId, resolved: Resolved, facts: list[Fact]) -> None:
    """Check that a piece is made of what it was, and that its checkpoints are its own."""
    piece = resolved.dir
    commit.check_owner(piece, known.run)
    before = identity.read_inputs(piece)
    if before is None:
        return
    if (before.run, before.role) != (known.run, piece.name):
        raise ManifestMismatch(
            f"{piece.run}: {os.path.basename(piece.inputs)} is of {before.role} in run "
            f"{before.run}, and not of {piece.name} in run {known.run}; put this run's own back, "
            "or choose another run directory"
        )
    identity.compare(piece.run, before, facts)
    check_length(config, known, resolved, before)


def _check_start(resolved: Resolved) -> None:
    """Check that a piece that has trained here can go on."""
    piece = resolved.dir
    can_go_on = resolved.solver.snapshot > 0 or (
        commit.latest(piece) is not None if piece.name == "single" else commit.complete(piece)
    )
    if not can_go_on and _has_begun(piece.log):
        raise UsageError(
            f"{piece.run}: {piece.name} has trained here already ({piece.log}) and left "
            "no checkpoint to go on from; choose another run directory, and set train.snapshot to "
            "have checkpoints"
        )


def _leave_config(config: Config, piece: PieceDir) -> None:
    """Write the config where there is none; where there is one, its length may be another now."""
    path = piece.run.config
    if not os.path.exists(path):
        # Absolute, as the run directory may be moved.
        content = config.with_files(os.path.abspath).to_yaml().encode()
        create_atomically(path, content, prefix=piece.temporary)
        return
    before = load(path)
    if before.train.max_iter != config.train.max_iter:
        train = replace(before.train, max_iter=config.train.max_iter)
        content = replace(before, train=train).to_yaml().encode()
        write_atomically(path, content, prefix=piece.temporary)


@contextmanager
def alone(config: Config, run: RunDir, fs: Fs = SYSTEM) -> Iterator[None]:
    """Start all pieces: the only process that does, of a run whose pieces do not run.

    Raises:
        Superseded: Somebody does, or one of them runs; nothing was touched.
        StorageFailed: That cannot be found out.
    """
    settings = exchange_settings(config)
    with sole(run.path, "training", settings, fs):
        check_vacant(run.path, settings, fs=fs)
        yield


def exchange_settings(config: Config, **more: Any) -> ExchangeSettings:
    """What the config says of the exchange.

    Args:
        config: The run.
        **more: What it does not say, or shall not.
    """
    return ExchangeSettings(**{**vars(config.exchange), **more})


def _has_begun(log: str) -> bool:
    """Whether a training has begun here, and not just found no room or no neighbour."""
    try:
        with open(log, "rb", opener=regular_only) as file:
            return any(b"] Solving " in line for line in file)
    except FileNotFoundError:
        return False


def disk_full_retrier(
    config: Config, on_blocked: Callable[[str], None] = lambda state: None, fs: Fs = SYSTEM
) -> Callable[[Callable[[], Any]], Any]:
    """A function that runs a start-up write, and retries it while the disk is full.

    It does so for `exchange.storage_timeout_s` at most.
    """
    timeout_s = config.exchange.storage_timeout_s
    return partial(wait_for_room, timeout_s=timeout_s, on_blocked=on_blocked, fs=fs)
