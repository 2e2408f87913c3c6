"""Makes the process group of a link, and a new one for each connection."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Callable

from torch.distributed import PrefixStore, ProcessGroupGloo

from dualnet.exchange.link import ENDS, Link
from dualnet.exchange.tcp.dial import Connector

__all__ = ["GlooConnector"]

# How long each end waits in a new process group for the other one. The lower end less long: if the
# upper one has left a group that the lower end joins, it finds it still waiting in the next.
_RENDEZVOUS_S = {"lower": 1.5, "upper": 5.0}
_PAUSE_S = 0.05


class GlooConnector(Connector):
    """Makes a process group of two for each connection.

    Args:
        link: the link.
        piece: ours, at one end of it.
        make: makes a connection of a group and uses it until it is lost.
        store: returns the rendezvous store, None if there is none yet; called before each attempt.
    """

    def __init__(
        self, link: Link, piece: str, make: Callable[[Any, int], None], store: Callable[[], Any]
    ) -> None:
        super().__init__(link, piece, b"", lambda sock, keys: None)
        self._rank = ENDS.index(self._end)
        self._make = make
        self._store = store

    def _run(self) -> None:
        answered = 0
        while not self._closed.is_set():
            try:
                store = self._store()
                # The upper end publishes a new number for each attempt and the lower end joins the
                # latest. Every number is a separate process group, so that attempts do not mix.
                call = 0 if store is None else int(store.add("calls", self._rank))
                if call > answered:
                    answered = call
                    self._connect(PrefixStore(f"call {call}", store))
            except (RuntimeError, OSError) as error:  # torch's DistError is a RuntimeError
                self._note(str(error).splitlines()[0])
            self._closed.wait(_PAUSE_S)

    def _connect(self, store: Any) -> None:
        group = ProcessGroupGloo(store, self._rank, 2, timedelta(seconds=_RENDEZVOUS_S[self._end]))
        self.trouble = ""
        self._make(group, self._rank)
