"""From a config and a role to a trained net: everything that happens around the loops.

The same command on the same run directory goes on where the half's latest checkpoint is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Callable, Optional

from dualnet import backend
from dualnet.atomic import write_atomically
from dualnet.config import CONFIG_NAME, Config, load
from dualnet.errors import StorageFailed, UsageError
from dualnet.exchange import Channel, ExchangeSettings, open_channel
from dualnet.exchange.peek import peek
from dualnet.exchange.storage import wait_for_room
from dualnet.report.log import CaffeLog
from dualnet.train import checkpoint, commit, handshake, retained
from dualnet.train.fidelity import PREFIX
from dualnet.train.half import Half
from dualnet.train.net1 import Net1
from dualnet.train.net2 import Net2
from dualnet.train.resolve import Resolved, resolve, write
from dualnet.train.session import Session
from dualnet.train.single import Single
from dualnet.train.stopping import Stopped, Stopper

__all__ = ["claim", "log_path", "train_half", "train_single"]

Progress = Optional[Callable[[Session], None]]

#: Checkpoints of each half that its partner's messages are kept for: the latest may be damaged.
_RETAINED = 2
#: Time between two looks at whether the partner has left: while stopping, and in a wait that has
#: lasted longer than the other.
_LOOK_S, _QUIET_S = 0.3, 5.0


def claim(config: Config, run_dir: str, resolved: Resolved) -> None:
    """Make the run directory and put the resolved config there, unless somebody has.

    On a full disk it waits for room, `exchange.storage_timeout_s` at most.

    Raises:
        UsageError: The directory holds another run, or this role has trained there already and
            cannot go on.
        StorageFailed: It cannot be written.
    """
    path = os.path.join(run_dir, CONFIG_NAME)

    def prepare() -> None:
        try:
            os.makedirs(run_dir, exist_ok=True)
            if not os.path.exists(path):
                write_atomically(path, config.to_yaml().encode())
        except OSError as error:
            raise StorageFailed(
                f"{run_dir}: cannot write the run directory: {error.strerror}; check the path and "
                "the disk"
            ) from error

    _room(config)(prepare)
    if load(path).identity() != config.identity():
        raise UsageError(
            f"{path}: another configuration runs here; give both halves the same CONFIG and --set, "
            "or choose another run directory"
        )
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


def _has_begun(log: str) -> bool:
    """Whether a training has begun here, and not just found no room or no partner."""
    try:
        with open(log, "rb") as file:
            return any(b"] Solving " in line for line in file)
    except FileNotFoundError:
        return False


def _room(
    config: Config, on_blocked: Callable[[str], None] = lambda state: None
) -> Callable[[Callable[[], None]], None]:
    """Runs what a start writes, with patience while the disk is full."""
    timeout_s = config.exchange.storage_timeout_s
    return partial(wait_for_room, timeout_s=timeout_s, on_blocked=on_blocked)


def log_path(run_dir: str, role: str) -> str:
    """The role's log, in Caffe's format."""
    return os.path.join(run_dir, f"{role}.log")


def train_single(
    config: Config,
    run_dir: str,
    resume: bool = False,
    progress: Progress = None,
    stopper: Optional[Stopper] = None,
) -> Optional[Session]:
    """Train the uncut net, from its latest checkpoint if there is one.

    Args:
        config: The run.
        run_dir: Its directory.
        resume: There must be a checkpoint, or a snapshot at least.
        progress: Told of the session before the first iteration.
        stopper: Takes the signals already; default one of its own.

    Returns:
        The session; None if the run was complete already.
    """
    resolved = resolve(config, "single", run_dir)
    with _stoppable(config, resolved, stopper) as stopper:
        claim(config, run_dir, resolved)
        room, path = _room(config), log_path(run_dir, "single")
        with CaffeLog(path, display=resolved.display, attempt=room) as log:
            found = commit.latest(run_dir, "single", log.warning)
            if found is not None and found.complete:
                return None
            checkpoint.clean(run_dir, "single")
            checkpoint.set_apart(resolved, os.getpid())
            room(partial(write, resolved))
            with stopper.held():
                half = Half(config, resolved)
            session = Session(half, log, run_dir, stopper=stopper)
            _introduce(session)
            if found is not None:
                session.continue_from(found, lambda: None)
            elif resume:
                session.restore(checkpoint.find(run_dir)[0])
            _train(session, Single(half, session), progress)
        _mark_complete(session)
    return session


def train_half(
    config: Config,
    role: str,
    run_dir: str,
    progress: Progress = None,
    stopper: Optional[Stopper] = None,
) -> Optional[Session]:
    """Train net1 or net2, together with the other half that somebody starts elsewhere.

    Returns:
        The session; None if the half was complete already.
    """
    resolved = resolve(config, role, run_dir)
    with _stoppable(config, resolved, stopper) as stopper:
        claim(config, run_dir, resolved)
        if commit.complete(run_dir, role) and commit.latest(run_dir, role) is not None:
            return None
        settings = _settings(config, resolved)
        identity = {"config": config.identity()}
        with open_channel(config.exchange.carrier, role, run_dir, settings, identity) as channel:
            try:
                path, room = log_path(run_dir, role), _room(config, channel.report)
                with CaffeLog(path, display=resolved.display, attempt=room) as log:
                    session = _train_with(
                        channel, config, resolved, run_dir, log, stopper, progress
                    )
            except Stopped:
                channel.close("stopped")
                raise
            except OSError:
                # One that was suspended and replaced finds its half-written files cleaned away.
                channel.progress()
                raise
        _mark_complete(session)
        if commit.complete(run_dir, channel.partner):
            retained.remove(run_dir)
    return session


def _mark_complete(session: Session) -> None:
    """Note that nothing is left to do, in the last checkpoint's record."""
    role, run_dir, iteration = session.half.role, session.run_dir, session.iteration
    marking = partial(commit.mark_complete, run_dir, role, iteration)
    session.quiet_storage.attempt("write", commit.record_path(run_dir, role, iteration), marking)


@contextmanager
def _stoppable(config: Config, resolved: Resolved, outer: Optional[Stopper]) -> Iterator[Stopper]:
    """Signals end what happens inside; where the training can go on, that is no failure.

    Errors of the disk that nobody has met with patience become StorageFailed.
    """
    with nullcontext(outer) if outer else Stopper(config.train.stop_within_s) as stopper:
        try:
            yield stopper
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise StorageFailed(
                f"{resolved.role}: {where}{error.strerror or error}; check the disk, then start "
                "this half again"
            ) from error
        except Stopped as error:
            if error.exit_code == 0 or not _can_go_on(resolved):
                raise
            remark = f"the same command continues {resolved.role} from its last checkpoint"
            raise Stopped(error.number, remark) from error


def _can_go_on(resolved: Resolved) -> bool:
    """Whether there are checkpoints that are worth something when the process ends before."""
    return resolved.role == "single" or resolved.solver.snapshot > 0


def _settings(config: Config, resolved: Resolved) -> ExchangeSettings:
    """What the config says; without checkpoints nothing is kept and nobody waited for."""
    values = {key: value for key, value in vars(config.exchange).items() if key != "carrier"}
    # Labels, and the gradient that net1's own is measured against.
    values["exact"] = (*config.cut.labels, *(PREFIX + blob for blob in config.cut.blobs))
    if not resolved.solver.snapshot:
        return ExchangeSettings(**{**values, "restart_grace_s": 0.0}, retain=0)
    return ExchangeSettings(**values, retain=_RETAINED)


def _train_with(
    channel: Channel,
    config: Config,
    resolved: Resolved,
    run_dir: str,
    log: CaffeLog,
    stopper: Stopper,
    progress: Progress,
) -> Session:
    """Build a half, bring it to where it was, and train it to the end or to a signal."""
    role = resolved.role
    found = commit.latest(run_dir, role, log.warning)
    epoch = peek(run_dir).halves[role].epoch
    checkpoint.clean(run_dir, role)
    checkpoint.set_apart(resolved, epoch)
    room = _room(config, channel.report)
    room(partial(write, resolved))
    with stopper.held():
        half = Half(config, resolved)
    session = Session(half, log, run_dir, channel, stopper)
    session.epoch = epoch
    _introduce(session)
    _watch_waits(channel, session, run_dir)
    if found is not None:
        session.continue_from(found, channel.progress)
    if not commit.complete(run_dir, channel.partner):
        # One that is complete has left; all that it had to say is in its messages.
        hello = handshake.describe(half, session)
        handshake.check(hello, channel.handshake(hello), config)
    if session.snapshot_interval and found is None:
        reserve = partial(
            channel.reserve, retained.iteration_bytes(half, session), session.snapshot_interval
        )
        if epoch > 1:
            room(reserve)
        else:  # a first start that will not fit is refused at once: nothing is lost
            reserve()
    channel.resume(*((found.sent, found.received) if found is not None else (0, 0)))
    if found is not None:
        channel.checkpoint_passed(found.iteration)
    loop: Any = (Net1 if role == "net1" else Net2)(half, channel, session)

    _train(session, loop, progress)
    counters = channel.counters
    log.info(
        f"Exchange: {counters.bytes_sent} bytes sent, {counters.bytes_received} received, "
        f"waited {counters.wait_s:.3g} s, exchanged {counters.exchange_s:.3g} s"
    )
    done = max(1, session.iteration - (found.iteration if found is not None else 0))
    log.info(
        f"Exchange: per iteration, tests included: {counters.bytes_sent / done:.0f} bytes sent "
        f"({(counters.bytes_sent + counters.saved_sent) / done:.0f} in float32), "
        f"{counters.bytes_received / done:.0f} received "
        f"({(counters.bytes_received + counters.saved_received) / done:.0f} in float32)"
    )
    if counters.replays_verified:
        log.info(f"Exchange: {counters.replays_verified} messages sent again, equal to the bit")
    return session


def _watch_waits(channel: Channel, session: Session, run_dir: str) -> None:
    """What happens while a half waits for the other: the status is kept, and an absence noted."""
    stopper, partner = session.stopper, channel.partner
    grace_s = session.half.config.exchange.restart_grace_s
    since_s = looked_s = time.monotonic()
    awaited = told = ""

    def on_wait() -> None:
        nonlocal awaited, told, since_s, looked_s
        session.vitals.show(session.iteration, session.loss)
        now_s = time.monotonic()
        if channel.awaited != awaited:
            awaited, since_s = channel.awaited, now_s
        if now_s - looked_s < _LOOK_S or not (stopper.requested or now_s - since_s > _QUIET_S):
            return
        looked_s = now_s
        left = _has_left(run_dir, partner)
        if left and stopper.requested:
            # While both halves are being stopped, the first to leave keeps the other from going on.
            raise stopper.error()
        if left and told != awaited:
            told = awaited
            session.log.warning(
                f"{partner} is gone ({left}) while {awaited} is awaited; waiting {grace_s:g} s at "
                "most for it to be started again"
            )

    channel.on_wait = on_wait


def _has_left(run_dir: str, role: str) -> str:
    """Why a half does not run, "" if it does or that cannot be told."""
    view = peek(run_dir).halves[role]
    if view.state.startswith(("stopped", "done", "failed")):
        return view.state
    return "it was killed" if view.alive is False else ""


def _train(session: Session, loop: Any, progress: Progress) -> None:
    """Run a loop to its end, or to the signal that stops it."""
    if progress is not None:
        with session.stopper.held():
            progress(session)
    # Without checkpoints a half cannot go on, so there is nothing worth the time.
    session.stopper.is_patient = _can_go_on(session.half.resolved)
    try:
        loop.run()
    except Stopped as error:
        if not session.stopper.is_patient:
            raise
        where = "here" if session.stop() else "its last checkpoint"
        raise Stopped(
            error.number,
            f"iteration {session.iteration}; the same command continues {session.half.role} from "
            f"{where}",
        ) from error


def _introduce(session: Session) -> None:
    """Say what runs, and load the weights that it begins with."""
    half, log = session.half, session.log
    coupling = half.config.coupling
    start = f", start {session.epoch}" if session.epoch > 1 else ""
    log.info(
        f"dualnet {half.role} on {backend.provider} Caffe, device {_device(half)}, "
        f"seed {half.config.seed}, update {half.config.update.rule}{start}"
    )
    if half.role != "single":
        log.info(f"Coupling: target {coupling.target}, loss {coupling.loss}, tie {coupling.tie}")
    if half.role == "net1" and half.resolved.is_frozen:
        log.warning("net1's loss has no loss_weight: net1 is frozen and only net2 learns")
    half.copy_weights(half.config.train.weights)


def _device(half: Half) -> str:
    return str(half.config.half(half.role).device)
