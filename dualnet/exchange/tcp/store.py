"""Messages that may have to be sent again: in memory until they have arrived, then on disk."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Callable

import numpy as np

from dualnet.exchange.channel import Message
from dualnet.exchange.files.layout import MessageLayout

__all__ = ["Store"]


class Store:
    """Messages by number, for two threads.

    Args:
        read: reads a message back from disk, None if it is not there.
    """

    def __init__(self, read: Callable[[int], Message | None]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._messages: dict[int, Message] = {}
        self._arrived = 0
        #: What is held in memory.
        self.nbytes = 0

    def hold(self, seq: int, message: Message) -> None:
        """Take a message as it is; its arrays must not change before `settle`."""
        with self._lock:
            self._messages[seq] = message
            self.nbytes += message.nbytes

    def settle(self, seq: int, is_on_disk: bool) -> None:
        """Let the caller reuse the arrays of message `seq`.

        Args:
            is_on_disk: it can be read back; else it is copied, unless it has arrived already.
        """
        with self._lock:
            message = self._messages.get(seq)
        if message is None:
            return
        if is_on_disk or seq <= self._arrived:
            self._drop(seq)
            return
        copies = {name: np.array(array) for name, array in message.arrays.items()}
        with self._lock:
            if seq in self._messages:
                self._messages[seq] = replace(message, arrays=copies)

    def arrived(self, seq: int) -> None:
        """The neighbour has all messages up to `seq`."""
        self._arrived = seq
        with self._lock:
            old = [number for number in self._messages if number <= seq]
        for number in old:
            self._drop(number)

    def load(self, seq: int, is_live: bool = False) -> tuple[Message, MessageLayout] | None:
        """Message `seq` with C-contiguous arrays, or None if it is kept nowhere.

        Args:
            seq: its number.
            is_live: the caller is done with the arrays before it calls `settle`, as only the
                thread that called `hold` can be; others get a copy, which no net writes over.
        """
        with self._lock:
            message = self._messages.get(seq)
            if message is not None and not is_live:
                copies = {name: np.array(array) for name, array in message.arrays.items()}
                message = replace(message, arrays=copies)
        if message is None:
            message = self._read(seq)
        return (message, MessageLayout.of(message)) if message is not None else None

    def _drop(self, seq: int) -> None:
        with self._lock:
            message = self._messages.pop(seq, None)
            if message is not None:
                self.nbytes -= message.nbytes
