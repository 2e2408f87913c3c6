"""The channel, and the store in which its halves meet."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any, Callable

from torch.distributed import TCPStore

from dualnet.errors import ConfigError, StorageFailed
from dualnet.exchange.channel import ROLES
from dualnet.exchange.distributed.connection import GlooConnection
from dualnet.exchange.distributed.group import GlooLink
from dualnet.exchange.tcp import TcpChannel
from dualnet.exchange.tcp.address import Address, find_addresses, parse_address, publish_address
from dualnet.exchange.tcp.dial import Link

__all__ = ["DistributedChannel"]

_STORE_S = 4.0


class DistributedChannel(TcpChannel):
    """One half's end of an exchange over torch.distributed; arguments as of `TcpChannel`."""

    #: Longer than any attempt to connect: a thread that comes back from within PyTorch when the
    #: interpreter has ended aborts the process.
    join_s = 8.0

    def _make_link(self) -> Link:
        rank = os.environ.get("RANK")
        if rank is not None and rank != str(ROLES.index(self.role)):
            raise ConfigError(
                f"RANK={rank} for {self.role}: net1 is rank 0 and net2 rank 1; start them with "
                "scripts/run_by_rank.sh"
            )
        settings = self._settings

        def make(group: Any, rank: int) -> None:
            self._wire.serve(
                GlooConnection(
                    group,
                    rank,
                    self._hasher,
                    settings.max_message_bytes,
                    settings.verify,
                    settings.dead_after_s,
                )
            )

        return GlooLink(self.role, make, self._store_finder())

    def _store_finder(self) -> Callable[[], Any]:
        """A function that gives the store in which the halves meet, None if there is none yet."""
        fixed = self._fixed_address()
        is_kept_here = self.role == "net1" and not os.environ.get("TORCHELASTIC_USE_AGENT_STORE")
        if is_kept_here:
            mine = _keep_store(fixed)
            if fixed is None:
                fs, paths, manifest = self._fs, self._paths, self._manifest
                publish_address(fs, paths, manifest, self.role, self.epoch, mine.port)
            return lambda: mine
        found: dict[Address, Any] = {}

        def find() -> Any:
            candidates = [fixed] if fixed is not None else self._published()
            for address in candidates:
                if address not in found:
                    found[address] = TCPStore(
                        address.host, address.port, is_master=False,
                        timeout=timedelta(seconds=_STORE_S), wait_for_workers=False,
                    )  # fmt: skip
                try:
                    found[address].add("calls", 0)
                except RuntimeError:
                    # Its keeper has gone, and perhaps come again.
                    del found[address]
                    raise
                return found[address]
            return None

        return find

    def _published(self) -> list[Address]:
        return find_addresses(self._fs, self._paths, self._manifest, self.partner)[:1]

    def _fixed_address(self) -> Address | None:
        host, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
        if self._settings.address:
            return parse_address(self._settings.address)
        return parse_address(f"{host}:{port}") if host and port else None


def _keep_store(address: Address | None) -> Any:
    host, port = (address.host, address.port) if address is not None else ("0.0.0.0", 0)
    try:
        return TCPStore(
            host, port, is_master=True, timeout=timedelta(seconds=_STORE_S), wait_for_workers=False
        )
    except RuntimeError as error:
        raise StorageFailed(
            f"net1 cannot keep a store at {host}:{port}: {str(error).splitlines()[0]}; set "
            "exchange.address to an address of net1's node and a port that is free"
        ) from error
