"""How the pieces of a chain exchange messages, whatever carries them."""

from __future__ import annotations

from dualnet.config.exchange import CARRIERS
from dualnet.exchange.channel import Channel, Counters, Message
from dualnet.exchange.factory import open_link
from dualnet.exchange.link import Link
from dualnet.exchange.run.membership import Membership
from dualnet.exchange.settings import ExchangeSettings

__all__ = [
    "CARRIERS", "Channel", "Counters", "ExchangeSettings", "Link", "Membership", "Message",
    "open_link",
]  # fmt: skip
