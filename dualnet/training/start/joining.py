"""How a piece joins its neighbours: it opens links, compares both ends, and resumes messages."""

from __future__ import annotations

from functools import partial
from typing import Optional

from dualnet.config import Config, CutEnd
from dualnet.exchange import ExchangeSettings
from dualnet.exchange.channel import Channel
from dualnet.exchange.factory import open_link
from dualnet.exchange.link import Link
from dualnet.exchange.run.membership import Membership
from dualnet.report.log import CaffeLog
from dualnet.training.checkpoint import commit
from dualnet.training.gauge.fidelity import PREFIX
from dualnet.training.loop.links import Links
from dualnet.training.loop.session import Session
from dualnet.training.net.resolve import Resolved
from dualnet.training.start import handshake, traffic
from dualnet.training.start.claim import disk_full_retrier, exchange_settings
from dualnet.training.start.wait_monitor import unless_complete

__all__ = ["join", "open_links", "settings_for", "sum_up"]

#: Checkpoints of each piece that its neighbours' messages are kept for: the latest may be damaged.
_RETAINED = 2


def settings_for(
    config: Config, resolved: Resolved, end: Optional[CutEnd] = None
) -> ExchangeSettings:
    """What the config says of the exchange; without checkpoints nothing is kept or waited for.

    Args:
        config: The run.
        resolved: The piece's solver and net.
        end: Its end of a cut, for the link there; None: for its membership.
    """
    cut = end.cut if end is not None else None
    # Labels, and the gradient that the lower piece's own is measured against.
    exact = (*cut.labels, *(PREFIX + blob for blob in cut.blobs)) if cut is not None else ()
    if not resolved.solver.snapshot:
        return exchange_settings(config, exact=exact, restart_grace_s=0.0, retain=0)
    return exchange_settings(config, exact=exact, retain=_RETAINED)


def open_links(config: Config, resolved: Resolved, membership: Membership) -> Links:
    """Open the piece's ends of its links, that to the piece below first."""
    channels = [
        open_link(
            config.exchange.carrier, membership, Link(end.lower, end.upper),
            settings_for(config, resolved, end),
        )
        for end in resolved.ends
    ]  # fmt: skip
    return Links(channels, membership, membership.epoch)


def join(session: Session, membership: Membership, found: Optional[commit.Commit]) -> None:
    """Compare descriptions with each neighbour, and resume each link from the checkpoint, if any.

    Args:
        session: Of the piece.
        membership: This process in the run.
        found: The checkpoint that it continues from.

    Raises:
        ManifestMismatch: The two nets do not match.
        StorageFailed: There is no room for what is kept between two checkpoints.
        DamagedMessage: A message that is needed was deleted.
    """
    for end, channel in zip(session.nets.resolved.ends, session.links.channels):
        hello = handshake.describe(session.nets, session, end)
        max_iter = session.nets.resolved.max_iter
        theirs = unless_complete(
            session.dir.run, membership, channel, max_iter, partial(channel.handshake, hello)
        )
        if theirs is not None:
            handshake.check(hello, theirs, end)
    for end, channel in zip(session.nets.resolved.ends, session.links.channels):
        _resume(session, end, channel, found)
    if found is not None:
        session.links.checkpoint_passed(found.iteration)


def _resume(
    session: Session, end: CutEnd, channel: Channel, found: Optional[commit.Commit]
) -> None:
    """Continue one link from a checkpoint, or from nothing."""
    if found is None:
        if session.snapshot_interval:
            _reserve(session, end, channel)
        channel.resume(0, 0)
        return
    sent, received = found.counts(channel.link.name)
    if found.complete and not session.is_test_due(found.iteration):
        traffic.remove_tests_after(session.dir, channel.link, found.iteration, sent)
    channel.resume(sent, received)


def _reserve(session: Session, end: CutEnd, channel: Channel) -> None:
    """Check early that there is room for what is kept between two checkpoints."""
    nets = session.nets
    nbytes = traffic.iteration_bytes(nets, session, end)
    reserve = partial(channel.reserve, nbytes, session.snapshot_interval)
    if session.epoch > 1:
        disk_full_retrier(nets.config, session.links.report, session.stopper.fs)(reserve)
    else:  # a first start that will not fit is refused at once: nothing is lost
        reserve()


def sum_up(links: Links, log: CaffeLog, iterations: int) -> None:
    """Log what the iterations of this start have exchanged, over all links and over each."""
    total = links.counters
    log.info(
        f"Exchange: {total.bytes_sent} bytes sent, {total.bytes_received} received, "
        f"waited {total.wait_s:.3g} s, exchanged {total.exchange_s:.3g} s"
    )
    done = max(1, iterations)
    for name, counters in links.by_link.items():
        log.info(
            f"Exchange over {name}: per iteration, tests included: "
            f"{counters.bytes_sent / done:.0f} bytes sent "
            f"({(counters.bytes_sent + counters.saved_sent) / done:.0f} in float32), "
            f"{counters.bytes_received / done:.0f} received "
            f"({(counters.bytes_received + counters.saved_received) / done:.0f} in float32)"
        )
    if total.replays_verified:
        log.info(f"Exchange: {total.replays_verified} messages sent again, equal to the bit")
