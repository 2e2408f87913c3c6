"""Making the process group, and making it again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Callable

from torch.distributed import PrefixStore, ProcessGroupGloo

from dualnet.exchange.channel import ROLES
from dualnet.exchange.tcp.dial import Link

__all__ = ["GlooLink"]

# How long a half waits in a new process group for the other one. net1 less long: if net2 has left
# a group that net1 comes to, it finds net2 still waiting in the next.
_MEET_S = {"net1": 1.5, "net2": 5.0}
_PAUSE_S = 0.05


class GlooLink(Link):
    """Makes a process group of two for each connection.

    Args:
        role: ours.
        make: makes a connection of a group and uses it until it is broken.
        store: the store in which both meet; asked before each attempt, None if there is none yet.
    """

    def __init__(
        self, role: str, make: Callable[[Any, int], None], store: Callable[[], Any]
    ) -> None:
        super().__init__(role, b"", lambda sock, keys: None)
        self._rank = ROLES.index(role)
        self._make = make
        self._store = store

    def _run(self) -> None:
        answered = 0
        while not self._closed.is_set():
            try:
                store = self._store()
                # net2 draws a number, net1 answers the latest; each is a group of its own.
                call = 0 if store is None else int(store.add("calls", self._rank))
                if call > answered:
                    answered = call
                    self._connect(PrefixStore(f"call {call}", store))
            except (RuntimeError, OSError) as error:  # torch's DistError is a RuntimeError
                self._note(str(error).splitlines()[0])
            self._closed.wait(_PAUSE_S)

    def _connect(self, store: Any) -> None:
        group = ProcessGroupGloo(store, self._rank, 2, timedelta(seconds=_MEET_S[self._role]))
        self.trouble = ""
        self._make(group, self._rank)
