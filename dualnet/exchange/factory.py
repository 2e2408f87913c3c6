"""Opening the channel that a configuration names."""

from __future__ import annotations

from typing import Any, Callable

from dualnet.errors import ConfigError
from dualnet.exchange.channel import Channel
from dualnet.exchange.codec import CodecChannel
from dualnet.exchange.files.channel import FileChannel
from dualnet.exchange.settings import ExchangeSettings
from dualnet.exchange.tcp import TcpChannel
from dualnet.fs import Fs

__all__ = ["CARRIERS", "open_channel"]

CARRIERS = ("files", "tcp", "torch")


def open_channel(
    carrier: str,
    role: str,
    run_dir: str,
    settings: ExchangeSettings,
    identity: dict[str, Any],
    fs: Fs | None = None,
) -> Channel:
    """Join a run as one of its halves.

    Args:
        carrier: what carries the bytes: "files" in a directory that both halves share, "tcp", or
            "torch" (torch.distributed).
        role: "net1" or "net2".
        run_dir: the run's directory, which must exist.
        settings: waits and care.
        identity: JSON-able; what both halves must agree on, for example the configuration's hash.
        fs: all I/O on files, and the clock.

    Raises:
        ConfigError: no such carrier.
        ManifestMismatch, Superseded, StorageFailed: see `dualnet.errors`.
    """
    if carrier not in CARRIERS:
        raise ConfigError(
            f"exchange.carrier: expected one of {', '.join(CARRIERS)}, got {carrier!r}"
        )
    channel: Channel
    if carrier == "torch":
        channel = _distributed()(role, run_dir, settings, identity, fs)
    elif carrier == "tcp":
        channel = TcpChannel(role, run_dir, settings, identity, fs)
    else:
        channel = FileChannel(role, run_dir, settings, identity, fs)
    if set(settings.dtypes.values()) == {"float32"}:
        return channel
    return CodecChannel(channel, settings.dtypes, settings.exact, settings.error_feedback)


def _distributed() -> Callable[..., Channel]:
    """The one carrier that needs PyTorch, imported when it is asked for."""
    try:
        from dualnet.exchange.distributed import DistributedChannel
    except ImportError as error:
        raise ConfigError(
            f"exchange.carrier: torch needs PyTorch with torch.distributed ({error}); install "
            "'dualnet[engine]', or use tcp"
        ) from error
    return DistributedChannel
