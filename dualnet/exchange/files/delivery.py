"""Receives one message: wait for its announcement, read and verify it, request a resend."""

from __future__ import annotations

import logging
from functools import partial
from typing import Callable

from dualnet.errors import DamagedMessage, NeighbourDied, NeighbourHung
from dualnet.exchange.channel import Counters, Message
from dualnet.exchange.disk.safefile import Damaged
from dualnet.exchange.disk.storage import Storage
from dualnet.exchange.files.inbox import Inbox
from dualnet.exchange.files.neighbour import Neighbour
from dualnet.exchange.files.status_record import StatusRecord
from dualnet.exchange.files.waiting import Waiting
from dualnet.exchange.run.watch import FailureDetector
from dualnet.exchange.settings import ExchangeSettings

__all__ = ["Delivery"]

LOGGER = logging.getLogger(__name__)


class Delivery:
    """Fetches messages of one neighbour in order.

    Args:
        root: the link's folder, for messages.
        inbox, neighbour, storage, waiting, counters, settings: see their classes.
        watch: makes the failure detector of one wait, given what is waited for.
        request: asks the neighbour to resend a message.
    """

    def __init__(
        self,
        root: str,
        inbox: Inbox,
        neighbour: Neighbour,
        storage: Storage,
        waiting: Waiting,
        counters: Counters,
        settings: ExchangeSettings,
        watch: Callable[[str], FailureDetector],
        request: Callable[[int], None],
    ) -> None:
        self._root = root
        self._inbox = inbox
        self._neighbour = neighbour
        self._storage = storage
        self._waiting = waiting
        self._counters = counters
        self._settings = settings
        self._watch = watch
        self._request = request
        self._damage = ""

    def fetch(self, seq: int, kind: str, iteration: int) -> Message:
        """Wait for message `seq` and return it, verified.

        Raises:
            as `Channel.receive`.
        """
        what = f"{kind} {iteration} (message {seq})"

        def announced() -> StatusRecord | None:
            self._neighbour.poll()
            return self._neighbour.locate(seq)

        requested = False
        while True:
            self._waiting.until(announced, self._watch(what))
            poller = self._waiting.poller()
            message = self._read(seq, kind, iteration, what)
            self._counters.exchange_s += poller.waited_s
            if message is not None:
                return message
            if self._neighbour.locate(seq) is None:
                continue  # the neighbour was started again and has yet to send it
            if requested:
                raise DamagedMessage(f"{what}: damaged even when resent: {self._damage}")
            self._request_resend(seq, what)
            requested = True

    def _read(self, seq: int, kind: str, iteration: int, what: str) -> Message | None:
        """Read an announced message; None if it stays damaged for `damage_retry_s`."""
        poller = self._waiting.poller()
        while True:
            source = self._neighbour.locate(seq)
            if source is None:
                return None
            try:
                reading = partial(self._inbox.read, source, seq, kind, iteration)
                return self._storage.attempt("read", self._root, reading)
            except Damaged as error:
                self._damage = str(error)
                self._counters.damaged_reads += 1
                LOGGER.debug("%s: %s", what, error)
            if poller.waited_s > self._settings.damage_retry_s:
                LOGGER.warning("%s stays damaged: %s", what, self._damage)
                checking = partial(self._inbox.check_step, seq, kind, iteration)
                self._storage.attempt("list", self._root, checking)
                return None
            self._waiting.attend()
            poller.sleep()
            self._storage.attempt("read", self._root, self._neighbour.poll)

    def _request_resend(self, seq: int, what: str) -> None:
        """Ask the neighbour to resend a message, and wait until its record shows that it did."""
        epoch = self._neighbour.epoch
        limit_s = self._settings.resend_timeout_s
        self._request(seq)

        def resent() -> StatusRecord | None:
            record = self._neighbour.poll()
            if record is not None and (record.epoch != epoch or record.resent_seq == seq):
                return record
            return None

        try:
            self._waiting.until(resent, self._watch(f"the resend of {what}"), limit_s)
        except TimeoutError:
            raise DamagedMessage(
                f"{what}: damaged ({self._damage}), and {self._neighbour.piece} did not resend it "
                f"within {limit_s:g} s; see its log and the disk's"
            ) from None
        except (NeighbourDied, NeighbourHung) as error:
            raise DamagedMessage(f"{what}: damaged ({self._damage}), and {error}") from error
