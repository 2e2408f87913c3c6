"""Opening a link over the carrier that a configuration names.

with Membership(piece, run_dir, settings, identity) as membership:
    channel = open_link("files", membership, Link("net1", "net2"), settings)
"""

from __future__ import annotations

from typing import Callable

from dualnet.config.exchange import CARRIERS
from dualnet.errors import ConfigError
from dualnet.exchange.channel import Channel
from dualnet.exchange.files.channel import FileChannel
from dualnet.exchange.link import Link
from dualnet.exchange.run.membership import Membership
from dualnet.exchange.settings import ExchangeSettings
from dualnet.exchange.tcp import TcpChannel

__all__ = ["open_link"]


def open_link(
    carrier: str, membership: Membership, link: Link, settings: ExchangeSettings
) -> Channel:
    """Open this piece's end of a link; closing the membership closes it.

    Args:
        carrier: what carries the bytes: "files" in a directory that both pieces share, "tcp", or
            "torch" (torch.distributed).
        membership: this process in its run.
        link: the link; this piece is at one of its ends.
        settings: timeouts, retention, digest, dtypes and address; dtypes may differ from link to
            link, and must be the same at both ends.

    Raises:
        ConfigError: no such carrier.
        UsageError: this piece is at neither end, or has opened the link already.
        StorageFailed: the link's folder cannot be used.
    """
    return _carrier(carrier)(membership, link, settings)


def _carrier(name: str) -> Callable[[Membership, Link, ExchangeSettings], Channel]:
    if name not in CARRIERS:
        raise ConfigError(f"exchange.carrier: expected one of {', '.join(CARRIERS)}, got {name!r}")
    if name == "torch":
        return _distributed()
    return TcpChannel if name == "tcp" else FileChannel


def _distributed() -> Callable[[Membership, Link, ExchangeSettings], Channel]:
    """The one carrier that needs PyTorch, imported when it is asked for."""
    try:
        from dualnet.exchange.distributed import DistributedChannel
    except ImportError as error:
        raise ConfigError(
            f"exchange.carrier: torch needs PyTorch with torch.distributed ({error}); install "
            "'dualnet[engine]', or use tcp"
        ) from error
    return DistributedChannel
