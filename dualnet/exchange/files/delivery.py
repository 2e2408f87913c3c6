"""Getting one message, whatever it takes: wait for it, read it, have it sent anew."""

from __future__ import annotations

import logging
from functools import partial
from typing import Callable

from dualnet.errors import DamagedMessage, PartnerDied, PartnerHung
from dualnet.exchange.channel import Counters, Message
from dualnet.exchange.disk.safefile import Damaged
from dualnet.exchange.disk.storage import Storage
from dualnet.exchange.files.inbox import Inbox
from dualnet.exchange.files.neighbour import Partner, Watch
from dualnet.exchange.files.status_record import StageRecord
from dualnet.exchange.files.waiting import Waiting
from dualnet.exchange.settings import ExchangeSettings
from dualnet.fs import Fs

__all__ = ["Delivery"]

LOGGER = logging.getLogger(__name__)


class Delivery:
    """Fetches messages of one partner in order.

    Args:
        fs: the clock.
        root: the exchange directory, for messages.
        inbox, partner, storage, waiting, counters, settings: see their classes.
        watch: makes the judge of one wait, told what is waited for.
        ask: tells the partner that a message is wanted anew.
    """

    def __init__(
        self,
        fs: Fs,
        root: str,
        inbox: Inbox,
        partner: Partner,
        storage: Storage,
        waiting: Waiting,
        counters: Counters,
        settings: ExchangeSettings,
        watch: Callable[[str], Watch],
        ask: Callable[[int], None],
    ) -> None:
        self._fs = fs
        self._root = root
        self._inbox = inbox
        self._partner = partner
        self._storage = storage
        self._waiting = waiting
        self._counters = counters
        self._settings = settings
        self._watch = watch
        self._ask = ask
        self._damage = ""

    def fetch(self, seq: int, stage: str, iteration: int) -> Message:
        """Wait for message `seq` and return it, verified.

        Raises:
            as `Channel.receive`.
        """
        what = f"{stage} {iteration} (message {seq})"

        def announced() -> StageRecord | None:
            self._partner.poll()
            return self._partner.locate(seq)

        asked = False
        while True:
            self._waiting.until(announced, self._watch(what))
            started_s = self._fs.monotonic()
            message = self._read(seq, stage, iteration, what)
            self._counters.exchange_s += self._fs.monotonic() - started_s
            if message is not None:
                return message
            if self._partner.locate(seq) is None:
                continue  # the partner was started again and has yet to send it
            if asked:
                raise DamagedMessage(f"{what}: damaged even when sent anew: {self._damage}")
            self._ask_anew(seq, what)
            asked = True

    def _read(self, seq: int, stage: str, iteration: int, what: str) -> Message | None:
        """Read an announced message; None if it stays damaged for `damage_retry_s`."""
        poller = self._waiting.poller()
        while True:
            source = self._partner.locate(seq)
            if source is None:
                return None
            try:
                reading = partial(self._inbox.read, source, seq, stage, iteration)
                return self._storage.attempt("read", self._root, reading)
            except Damaged as error:
                self._damage = str(error)
                self._counters.damaged_reads += 1
                LOGGER.debug("%s: %s", what, error)
            if poller.waited_s > self._settings.damage_retry_s:
                LOGGER.warning("%s stays damaged: %s", what, self._damage)
                checking = partial(self._inbox.check_step, seq, stage, iteration)
                self._storage.attempt("list", self._root, checking)
                return None
            self._waiting.meanwhile()
            poller.sleep()
            self._storage.attempt("read", self._root, self._partner.poll)

    def _ask_anew(self, seq: int, what: str) -> None:
        """Have the partner send a message anew and wait until it says that it did."""
        epoch = self._partner.epoch
        limit_s = self._settings.resend_timeout_s
        self._ask(seq)

        def sent_anew() -> StageRecord | None:
            record = self._partner.poll()
            if record is not None and (record.epoch != epoch or record.resent_seq == seq):
                return record
            return None

        try:
            self._waiting.until(sent_anew, self._watch(f"{what} anew"), limit_s)
        except TimeoutError:
            raise DamagedMessage(
                f"{what}: damaged ({self._damage}), and {self._partner.role} did not send it anew "
                f"within {limit_s:g} s; see its log and the disk's"
            ) from None
        except (PartnerDied, PartnerHung) as error:
            raise DamagedMessage(f"{what}: damaged ({self._damage}), and {error}") from error
