"""From a config and a piece to a trained net: everything that happens around the loop.

The same command on the same run directory continues where the piece's latest checkpoint is.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Callable, Optional

from dualnet import backend
from dualnet.config import Config
from dualnet.coupling.meaning import meaning_of
from dualnet.engine.errors import CaffeError
from dualnet.exchange.run.membership import Membership
from dualnet.exchange.run.occupancy import sole
from dualnet.process.stopping import Stopped, Stopper
from dualnet.report.log import CaffeLog
from dualnet.report.tensorboard import EventFile
from dualnet.rundir import PieceDir
from dualnet.scarcity import disk_fault
from dualnet.training.checkpoint import caffe_files, commit, rewind
from dualnet.training.history.provenance import provenance
from dualnet.training.history.recorder import Recorder, recorded
from dualnet.training.loop.links import Links
from dualnet.training.loop.piece import PieceLoop
from dualnet.training.loop.session import Session
from dualnet.training.net.nets import Nets
from dualnet.training.net.resolve import Resolved, resolve, write
from dualnet.training.start import traffic
from dualnet.training.start.claim import Claim, claim, disk_full_retrier, exchange_settings
from dualnet.training.start.ending import Progress, stoppable, train_to_end
from dualnet.training.start.extension import check_rates, describe, unrepeatable
from dualnet.training.start.identity import read_inputs
from dualnet.training.start.joining import join, open_links, settings_for, sum_up
from dualnet.training.start.wait_monitor import install_wait_callback, unless_complete

__all__ = ["train_piece"]


def train_piece(
    config: Config,
    piece: PieceDir,
    resume: bool = False,
    progress: Progress = None,
    stopper: Optional[Stopper] = None,
) -> Optional[Session]:
    """Train a piece, from its latest checkpoint if there is one, with neighbours if it has some.

    Neighbours are other processes, started by somebody else in any order. This call blocks until
    they are there, for `exchange.partner_timeout_s` each, and then until the training ends.

    Args:
        config: The run.
        piece: Which one, and where; `single` is the uncut net.
        resume: There must be a checkpoint, or a snapshot at least (`single` only).
        progress: Called with the session before the first iteration.
        stopper: Takes the signals already; default one of its own.

    Returns:
        The session; None if the piece was complete already.

    Raises:
        DualnetError: As its kinds in dualnet/errors.py say.
        Stopped: A signal has ended it.
    """
    resolved = resolve(config, piece)
    with recorded(piece) as life, stoppable(config, resolved, stopper) as stopper:
        start = _Start(config, resolved, stopper, progress, life)
        return start.in_chain() if resolved.ends else start.alone(resume)


class _Start:
    """One start of a piece.

    Args:
        config: The run.
        resolved: The piece's solver and net.
        stopper: Takes the signals.
        progress: Called with the session before the first iteration.
        life: Records when it trained, with what, and how it ended.
    """

    def __init__(
        self,
        config: Config,
        resolved: Resolved,
        stopper: Stopper,
        progress: Progress,
        life: Recorder,
    ) -> None:
        self.config, self.resolved, self.dir = config, resolved, resolved.dir
        self.stopper, self.progress, self.life = stopper, progress, life
        self.max_iter = resolved.max_iter

    def alone(self, resume: bool) -> Optional[Session]:
        """Train the single net."""
        fs = self.stopper.fs
        settings = exchange_settings(self.config)
        with sole(self.dir.run.path, self.dir.name, settings, fs):
            ours = claim(self.config, self.resolved, fs=fs)
            with self.open_log(lambda state: None) as log:
                found = commit.latest(self.dir, log.warning)
                if found is not None and commit.is_end(found, self.max_iter):
                    return None
                check_rates(self.dir, found.iteration if found is not None else 0)
                session = self.set_up(ours, log, Links(), found, resume)
                if found is not None:
                    session.continue_from(found, self.stopper.check)
                elif resume:
                    session.restore(caffe_files.find(self.dir.run)[0])
                self.begin_records(ours, session)
                self.show(session)
                train_to_end(session, PieceLoop(session.nets, session))
            session.checkpoints.mark_complete()
        return session

    def in_chain(self) -> Optional[Session]:
        """Train together with the neighbours."""
        config, run = self.config, self.dir.run
        ours = claim(config, self.resolved, fs=self.stopper.fs)
        if self.is_over():
            return None
        with Membership(
            self.dir.name, run.path, settings_for(config, self.resolved), {"run": ours.run},
            self.stopper.fs,
        ) as membership:  # fmt: skip
            if self.is_over():
                # Another start of this piece came to its end while this one waited for its turn.
                membership.close("done", wait=False)
                return None
            try:
                with self.open_log(membership.report) as log:
                    session = self.train_with(membership, ours, log)
                    self.finish(membership, session)
            except Stopped:
                membership.close("stopped")
                raise
            except OSError:
                # A process that was suspended and replaced gets OSError, because its successor has
                # removed its temporary files; `progress` then raises Superseded, the real reason.
                membership.progress()
                raise
        self.is_over()
        return session

    def train_with(self, membership: Membership, ours: Claim, log: CaffeLog) -> Session:
        """Build the piece, restore its checkpoint, and train it to the end or to a signal."""
        found = rewind.go_back(self.dir, self.config.names, check_rates, log.warning)
        links = open_links(self.config, self.resolved, membership)
        session = self.set_up(ours, log, links, found)
        install_wait_callback(membership, session)

        def on_skipped() -> None:
            self.stopper.check()
            membership.progress()

        if found is not None:
            session.continue_from(found, on_skipped)
        self.begin_records(ours, session)
        self.show(session)
        join(session, membership, found)
        begun_at = session.iteration
        sides = {
            "below" if channel.link.upper == self.dir.name else "above": channel
            for channel in links.channels
        }
        train_to_end(session, PieceLoop(session.nets, session, **sides))
        sum_up(links, log, session.iteration - begun_at)
        return session

    def show(self, session: Session) -> None:
        """Let the caller show the progress, the first wait included: a neighbour may come late."""
        if self.progress is not None:
            with self.stopper.defer_signals():
                self.progress(session)

    def finish(self, membership: Membership, session: Session) -> None:
        """Wait until the neighbours have read every message, and record that the run is complete.

        A neighbour that is complete is not waited for: it has read every message, and may have been
        killed before its final heartbeat.
        """
        for channel in session.links.channels:
            unless_complete(self.dir.run, membership, channel, self.max_iter, channel.drain)
        membership.progress()  # raises if the process was suspended and replaced
        # Before the membership is closed: another start of this piece then finds it complete.
        try:
            session.checkpoints.mark_complete()
        finally:
            if self.is_over():
                membership.close("done", wait=False)

    def is_over(self) -> bool:
        """Whether nothing is left to do here; messages that nobody needs are deleted then."""
        chain = self.config.names
        if not rewind.is_over(self.dir, chain, self.max_iter):
            return False
        traffic.remove_when_over(self.dir.run, chain, self.max_iter)
        return True

    def begin_records(self, ours: Claim, session: Session) -> None:
        """Begin what people look at later, now that it is known from where this start goes on."""
        room = disk_full_retrier(self.config, session.links.report, self.stopper.fs)
        facts = provenance(self.config, self.resolved, ours.data(self.dir))
        room(partial(self.life.begin, facts, lambda: session.iteration, session.log.warning))
        if self.config.tracking == "tensorboard":
            # As the log is written: a full disk is waited for.
            storage = session.checkpoints.quiet_storage
            attempt = partial(storage.attempt, "write", self.dir.events)
            session.log.listener = EventFile(self.dir, session.iteration, attempt)

    def open_log(self, report: Callable[[str], None]) -> CaffeLog:
        """The piece's log; `report` gets the blocked state while it cannot be written."""
        room = disk_full_retrier(self.config, report, self.stopper.fs)
        return CaffeLog(self.dir.log, display=self.resolved.display, attempt=room)

    def set_up(
        self,
        ours: Claim,
        log: CaffeLog,
        links: Links,
        found: Optional[commit.Commit],
        resume: bool = False,
    ) -> Session:
        """Build the nets with the weights that they begin with, and the session of their run."""
        config, resolved = self.config, self.resolved
        caffe_files.clean(self.dir)
        caffe_files.set_apart(resolved, links.epoch if links.channels else os.getpid())
        room = disk_full_retrier(config, links.report, self.stopper.fs)
        room(partial(write, resolved))
        nets = room(partial(_build, config, resolved, self.stopper))
        session = Session(nets, log, links, self.stopper)
        session.epoch, session.run = links.epoch, ours.run
        _introduce(session, is_continued=found is not None or resume)
        before = read_inputs(self.dir)
        note = describe(config, resolved, before)
        if note:
            log.info(note)
        begins_at = found.iteration if found is not None else 0
        since = unrepeatable(config, resolved, before, begins_at)
        room(partial(ours.record, self.dir, since))
        return session


def _build(config: Config, resolved: Resolved, stopper: Stopper) -> Nets:
    """Build a piece's nets.

    Raises:
        OSError: The disk is full, or fails; Caffe tries whether it can write there.
    """
    with stopper.defer_signals():
        if backend.provider == "bvlc":  # which ends the process over it
            probe = f"{resolved.solver.snapshot_prefix}.probe"
            os.close(os.open(probe, os.O_WRONLY | os.O_CREAT, 0o666))
            os.unlink(probe)
        try:
            return Nets(config, resolved)
        except Exception as error:
            fault = disk_fault(error)
            if fault is not None:
                raise fault from error
            if isinstance(error, CaffeError):
                raise type(error)(_of_user(str(error), config, resolved)) from error
            raise


def _of_user(message: str, config: Config, resolved: Resolved) -> str:
    """A message that names the user's files in place of the run's copies of them."""
    source = config.piece(resolved.name).solver
    return message.replace(resolved.dir.net, resolved.train.path).replace(
        resolved.dir.solver, source
    )


def _introduce(session: Session, is_continued: bool) -> None:
    """Log what runs, and load the weights that it begins with, unless it continues."""
    nets, log = session.nets, session.log
    start = f", start {session.epoch}" if session.epoch > 1 else ""
    log.info(
        f"dualnet {nets.name} on {backend.provider} Caffe, device {_device(nets)}, "
        f"seed {nets.config.seed}, update {nets.config.update.rule}{start}"
    )
    for end in nets.resolved.ends:
        where = f" with {end.neighbour}" if len(nets.config.pieces) > 2 else ""
        rule = f"target {end.coupling.target}, loss {end.coupling.loss}, tie {end.coupling.tie}"
        log.info(f"Coupling{where}: {rule}")
    log.info(meaning_of(nets.config, nets.name).sentence)
    above = nets.resolved.above
    if above is not None and nets.resolved.is_frozen:
        rest = "only net2 learns" if len(nets.config.pieces) == 2 else "only pieces above it learn"
        log.warning(f"{nets.name}'s loss has no loss_weight: {nets.name} is frozen and {rest}")
    if nets.resolved.weights and is_continued:
        log.info("files of weights are left alone: the checkpoint has what became of them")
    else:
        nets.copy_weights(log.info, log.warning)


def _device(nets: Nets) -> str:
    return str(nets.config.piece(nets.name).device)
