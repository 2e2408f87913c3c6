"""From a config and a role to a trained net: everything that happens around the loops.

The same command on the same run directory goes on where the half's latest checkpoint is.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Optional

from dualnet import backend
from dualnet.config import Config
from dualnet.exchange import Channel, Counters, ExchangeSettings, open_channel
from dualnet.exchange.peek import peek
from dualnet.exchange.run.occupancy import sole
from dualnet.process.stopping import Stopped, Stopper
from dualnet.report.log import CaffeLog
from dualnet.rundir import PieceDir, RunDir
from dualnet.scarcity import disk_fault
from dualnet.train.checkpoint import caffe_files, commit, rewind
from dualnet.train.gauge.fidelity import PREFIX
from dualnet.train.loop.piece import PieceLoop
from dualnet.train.loop.session import Session
from dualnet.train.net.nets import Nets
from dualnet.train.net.resolve import Resolved, resolve, write
from dualnet.train.start import handshake, traffic
from dualnet.train.start.absence import unless_complete, watch_waits
from dualnet.train.start.claim import Claim, claim, exchange_settings, patience
from dualnet.train.start.ending import Progress, stoppable, train_to_end
from dualnet.train.start.extension import check_rates, describe, unrepeatable
from dualnet.train.start.identity import read_inputs

__all__ = ["train_half", "train_single"]

#: Checkpoints of each half that its partner's messages are kept for: the latest may be damaged.
_RETAINED = 2


def train_single(
    config: Config,
    run: RunDir,
    resume: bool = False,
    progress: Progress = None,
    stopper: Optional[Stopper] = None,
) -> Optional[Session]:
    """Train the uncut net, from its latest checkpoint if there is one.

    Args:
        config: The run.
        run: Its directory.
        resume: There must be a checkpoint, or a snapshot at least.
        progress: Told of the session before the first iteration.
        stopper: Takes the signals already; default one of its own.

    Returns:
        The session; None if the run was complete already.
    """
    piece = run.piece("single")
    resolved = resolve(config, piece)
    settings = exchange_settings(config)
    with (
        stoppable(config, resolved, stopper) as stopper,
        sole(run.path, "single", settings, stopper.fs),
    ):
        ours = claim(config, resolved, fs=stopper.fs)
        room = patience(config, fs=stopper.fs)
        with CaffeLog(piece.log, display=resolved.display, attempt=room) as log:
            found = commit.latest(piece, log.warning)
            if found is not None and commit.is_end(found, resolved.max_iter):
                return None
            is_continued = found is not None or resume
            begins_at = found.iteration if found is not None else 0
            check_rates(piece, begins_at)
            session = _set_up(config, resolved, ours, log, stopper, None, is_continued, begins_at)
            if found is not None:
                session.continue_from(found, stopper.check)
            elif resume:
                session.restore(caffe_files.find(run)[0])
            train_to_end(session, PieceLoop(session.nets, session), progress)
        session.checkpoints.mark_complete()
    return session


def train_half(
    config: Config,
    piece: PieceDir,
    progress: Progress = None,
    stopper: Optional[Stopper] = None,
) -> Optional[Session]:
    """Train net1 or net2, together with the other half that somebody starts elsewhere.

    Args:
        config: The run.
        piece: Which one, and where.
        progress: Told of the session before the first iteration.
        stopper: Takes the signals already; default one of its own.

    Returns:
        The session; None if the half was complete already.
    """
    run, resolved = piece.run, resolve(config, piece)
    with stoppable(config, resolved, stopper) as stopper:
        ours = claim(config, resolved, fs=stopper.fs)
        if rewind.is_over(piece, resolved.max_iter):
            traffic.remove_when_over(run, resolved.max_iter)
            return None
        settings = _settings(config, resolved)
        identity = {"run": ours.run}
        with open_channel(
            config.exchange.carrier, piece.name, run.path, settings, identity, stopper.fs
        ) as channel:
            if rewind.is_over(piece, resolved.max_iter):
                # Another start of this half came to its end while this one waited for its turn.
                channel.close("done", wait=False)
                traffic.remove_when_over(run, resolved.max_iter)
                return None
            try:
                room = patience(config, channel.report, stopper.fs)
                with CaffeLog(piece.log, display=resolved.display, attempt=room) as log:
                    session = _train_with(channel, config, resolved, ours, log, stopper, progress)
                    # It may wait there for the other half to be started again, and say so; but
                    # not for one that is complete: that one has read all, and may have been killed
                    # before it could say so.
                    unless_complete(run, channel, resolved.max_iter, channel.drain)
                    channel.progress()  # one that was suspended and replaced has no say any more
                    # Before it leaves: a start that takes its place knows then that all is done.
                    try:
                        session.checkpoints.mark_complete()
                    finally:
                        if rewind.is_over(piece, resolved.max_iter):
                            channel.close("done", wait=False)
            except Stopped:
                channel.close("stopped")
                raise
            except OSError:
                # One that was suspended and replaced finds its half-written files cleaned away.
                channel.progress()
                raise
        traffic.remove_when_over(run, resolved.max_iter)
    return session


def _settings(config: Config, resolved: Resolved) -> ExchangeSettings:
    """What the config says; without checkpoints nothing is kept and nobody waited for."""
    # Labels, and the gradient that net1's own is measured against.
    exact = (*config.cut.labels, *(PREFIX + blob for blob in config.cut.blobs))
    if not resolved.solver.snapshot:
        return exchange_settings(config, exact=exact, restart_grace_s=0.0, retain=0)
    return exchange_settings(config, exact=exact, retain=_RETAINED)


def _train_with(
    channel: Channel,
    config: Config,
    resolved: Resolved,
    ours: Claim,
    log: CaffeLog,
    stopper: Stopper,
    progress: Progress,
) -> Session:
    """Build a piece, bring it to where it was, and train it to the end or to a signal."""
    found = rewind.go_back(resolved.dir, check_rates, log.warning)
    is_continued = found is not None
    begins_at = found.iteration if found is not None else 0
    session = _set_up(config, resolved, ours, log, stopper, channel, is_continued, begins_at)
    watch_waits(channel, session)

    def pass_over() -> None:
        stopper.check()
        channel.progress()

    if found is not None:
        session.continue_from(found, pass_over)
    _join(channel, session, found)
    side = "above" if resolved.above is not None else "below"
    loop = PieceLoop(session.nets, session, **{side: channel})
    begun_at = session.iteration
    train_to_end(session, loop, progress)
    _sum_up(channel.counters, log, session.iteration - begun_at)
    return session


def _set_up(
    config: Config,
    resolved: Resolved,
    ours: Claim,
    log: CaffeLog,
    stopper: Stopper,
    channel: Optional[Channel] = None,
    is_continued: bool = False,
    begins_at: int = 0,
) -> Session:
    """Build a role's nets with the weights that they begin with, and the session of their run."""
    piece = resolved.dir
    epoch = peek(piece.run.path).piece(piece.name).epoch if channel is not None else 1
    caffe_files.clean(piece)
    caffe_files.set_apart(resolved, epoch if channel is not None else os.getpid())
    report = channel.report if channel is not None else lambda state: None
    room = patience(config, report, stopper.fs)
    room(partial(write, resolved))
    nets = room(partial(_build, config, resolved, stopper))
    session = Session(nets, log, channel, stopper)
    session.epoch, session.run = epoch, ours.run
    _introduce(session, is_continued)
    before = read_inputs(piece)
    note = describe(config, resolved, before)
    if note:
        log.info(note)
    since = unrepeatable(config, resolved, before, begins_at)
    room(partial(ours.record, piece, since))
    return session


def _build(config: Config, resolved: Resolved, stopper: Stopper) -> Nets:
    """Build a role's nets.

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
            if fault is None:
                raise
            raise fault from error


def _join(channel: Channel, session: Session, found: Optional[commit.Commit]) -> None:
    """Agree with the neighbour, and send and receive on from where the checkpoint is, if any."""
    nets = session.nets
    (end,) = nets.resolved.ends
    hello = handshake.describe(nets, session, end)
    max_iter = nets.resolved.max_iter
    theirs = unless_complete(session.dir.run, channel, max_iter, lambda: channel.handshake(hello))
    if theirs is not None:
        handshake.check(hello, theirs, end)
    if session.snapshot_interval and found is None:
        reserve = partial(
            channel.reserve, traffic.iteration_bytes(nets, session, end), session.snapshot_interval
        )
        if session.epoch > 1:
            patience(nets.config, channel.report, session.stopper.fs)(reserve)
        else:  # a first start that will not fit is refused at once: nothing is lost
            reserve()
    if found is not None and found.complete and not session.is_test_due(found.iteration):
        traffic.remove_tests_after(session.dir, found.iteration, found.sent)
    channel.resume(*((found.sent, found.received) if found is not None else (0, 0)))
    if found is not None:
        channel.checkpoint_passed(found.iteration)


def _sum_up(counters: Counters, log: CaffeLog, iterations: int) -> None:
    """Say what the iterations of this start have exchanged."""
    log.info(
        f"Exchange: {counters.bytes_sent} bytes sent, {counters.bytes_received} received, "
        f"waited {counters.wait_s:.3g} s, exchanged {counters.exchange_s:.3g} s"
    )
    done = max(1, iterations)
    log.info(
        f"Exchange: per iteration, tests included: {counters.bytes_sent / done:.0f} bytes sent "
        f"({(counters.bytes_sent + counters.saved_sent) / done:.0f} in float32), "
        f"{counters.bytes_received / done:.0f} received "
        f"({(counters.bytes_received + counters.saved_received) / done:.0f} in float32)"
    )
    if counters.replays_verified:
        log.info(f"Exchange: {counters.replays_verified} messages sent again, equal to the bit")


def _introduce(session: Session, is_continued: bool) -> None:
    """Say what runs, and load the weights that it begins with, unless it continues."""
    nets, log = session.nets, session.log
    coupling = nets.config.coupling
    start = f", start {session.epoch}" if session.epoch > 1 else ""
    log.info(
        f"dualnet {nets.name} on {backend.provider} Caffe, device {_device(nets)}, "
        f"seed {nets.config.seed}, update {nets.config.update.rule}{start}"
    )
    if nets.name != "single":
        log.info(f"Coupling: target {coupling.target}, loss {coupling.loss}, tie {coupling.tie}")
    if nets.name == "net1" and nets.resolved.is_frozen:
        log.warning("net1's loss has no loss_weight: net1 is frozen and only net2 learns")
    if nets.resolved.weights and is_continued:
        log.info("files of weights are left alone: the checkpoint has what became of them")
    else:
        nets.copy_weights(log.info, log.warning)


def _device(nets: Nets) -> str:
    return str(nets.config.piece(nets.name).device)
