"""The end of a link over torch.distributed, and the store by which its two ends rendezvous."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any, Callable

from torch.distributed import PrefixStore, TCPStore

from dualnet.errors import ConfigError, StorageFailed
from dualnet.exchange.distributed.connection import GlooConnection
from dualnet.exchange.distributed.group import GlooConnector
from dualnet.exchange.tcp import TcpChannel
from dualnet.exchange.tcp.address import Address, find_addresses, parse_address
from dualnet.exchange.tcp.dial import Connector

__all__ = ["DistributedChannel"]

_STORE_S = 4.0


class DistributedChannel(TcpChannel):
    """One end of a link over torch.distributed; arguments as of `TcpChannel`."""

    #: Longer than any connection attempt: a thread still inside PyTorch at interpreter shutdown
    #: aborts the process.
    join_s = 8.0

    def _make_connector(self) -> Connector:
        self._check_rank()
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

        find = self._store_finder()

        def store() -> Any:
            found = find()
            return None if found is None else PrefixStore(self.link.name, found)

        return GlooConnector(self.link, self.piece, make, store)

    def _check_rank(self) -> None:
        """Where torchrun numbers the processes, net1 is rank 0, net2 rank 1 and so on."""
        rank, piece = os.environ.get("RANK"), self.piece
        due = self.link.index + (self.link.end(piece) == "upper")
        if rank is not None and rank != str(due):
            raise ConfigError(
                f"RANK={rank} for {piece}, expected {due}: net1 is rank 0 and net2 rank 1; start "
                "them with scripts/run_by_rank.sh"
            )

    def _store_finder(self) -> Callable[[], Any]:
        """A function that returns the rendezvous store, None if there is none yet."""
        fixed = self._address or _master()
        if self._is_keeper():
            mine = _keep_store(self.piece, fixed)
            if fixed is None:
                self._publish(mine.port)
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
                    # The TCPStore's server has ended and may have been restarted: connect again.
                    del found[address]
                    raise
                return found[address]
            return None

        return find

    def _is_keeper(self) -> bool:
        """Whether this process keeps the store: one for each link, or net1 where all share one."""
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE"):
            return False
        is_shared = self._address is None and _master() is not None
        return self.link.end(self.piece) == "lower" and not (is_shared and self.link.index)

    def _published(self) -> list[Address]:
        return find_addresses(self.membership, self.link)[:1]


def _master() -> Address | None:
    host, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    return parse_address(f"{host}:{port}") if host and port else None


def _keep_store(piece: str, address: Address | None) -> Any:
    host, port = (address.host, address.port) if address is not None else ("0.0.0.0", 0)
    try:
        return TCPStore(
            host, port, is_master=True, timeout=timedelta(seconds=_STORE_S), wait_for_workers=False
        )
    except RuntimeError as error:
        raise StorageFailed(
            f"{piece} cannot keep a store at {host}:{port}: {str(error).splitlines()[0]}; set "
            f"exchange.address to an address of {piece}'s node and a port that is free"
        ) from error
