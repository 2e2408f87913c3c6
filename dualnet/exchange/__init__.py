"""How the two halves exchange messages, whatever carries them."""

from __future__ import annotations

from dualnet.exchange.channel import Channel, Counters, Message
from dualnet.exchange.factory import CARRIERS, open_channel
from dualnet.exchange.settings import ExchangeSettings

__all__ = ["CARRIERS", "Channel", "Counters", "ExchangeSettings", "Message", "open_channel"]
