"""A channel that sends in fewer bits; the training loops do not know.

It stands between a loop and the carrier: `send` encodes, `receive` decodes. What is encoded are the
blobs that go up and down at each iteration: the float32 arrays of two axes or more in the messages
of stages `up` and `down` (and `up2` and so on), labels excepted. Losses, weights and test batches
travel as they are.

With error feedback the rounding error of a message is added to the next one of the same stage and
shape before that is rounded, so that errors do not add up over many iterations. What is left over
belongs in a checkpoint (`Channel.state`): a half that starts again without it would send other
bytes than before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Callable

import numpy as np

from dualnet.errors import ConfigError, DamagedMessage
from dualnet.exchange.channel import Channel, Counters, Message
from dualnet.exchange.compress import DTYPES, decode, encode

__all__ = ["CodecChannel"]


class CodecChannel(Channel):
    """Encodes what goes into another channel and decodes what comes out of it.

    Args:
        inner: carries the messages; closed with this one.
        dtypes: stage to one of `compress.DTYPES`, for the stages whose messages are encoded; digits
            that follow a stage's name do not count.
        exact: names of arrays that are never encoded: labels.
        error_feedback: add the rounding error of a message to the next one.

    Raises:
        ConfigError: no such dtype.
    """

    def __init__(
        self,
        inner: Channel,
        dtypes: Mapping[str, str],
        exact: Collection[str] = (),
        error_feedback: bool = False,
    ) -> None:
        for stage, dtype in dtypes.items():
            if dtype not in DTYPES:
                raise ConfigError(
                    f"exchange.dtype of stage {stage}: expected one of {', '.join(DTYPES)}, "
                    f"got {dtype!r}"
                )
        self._inner = inner
        self._dtypes = dict(dtypes)
        self._exact = frozenset(exact)
        self._feedback = error_feedback
        #: Stage and array name to what rounding has taken from it so far.
        self._residuals: dict[tuple[str, str], np.ndarray] = {}

    # The messages.

    def send(self, message: Message) -> None:
        """See `Channel.send`."""
        arrays: dict[str, np.ndarray] = {}
        residuals = {}
        dtype = self._dtypes.get(message.stage.rstrip("0123456789"), "float32")
        for name, array in message.arrays.items():
            if dtype == "float32" or name in self._exact or not _is_blob(array):
                arrays[name] = array
                continue
            key = (message.stage, name)
            values = self._corrected(key, array)
            encoded = encode(name, values, dtype)
            arrays.update(encoded)
            if self._feedback:
                residuals[key] = _rounded_away(values, decode(encoded)[name])
        self._inner.send(replace(message, arrays=arrays))
        self._residuals.update(residuals)
        self.counters.saved_sent += message.nbytes - sum(a.nbytes for a in arrays.values())

    def receive(self, stage: str, iteration: int) -> Message:
        """See `Channel.receive`."""
        coded = self._inner.receive(stage, iteration)
        try:
            message = replace(coded, arrays=decode(coded.arrays))
        except (KeyError, ValueError) as error:
            raise DamagedMessage(
                f"{stage} {iteration} of {self.partner}: not encoded as this program does "
                f"({error}); run both halves with one version of dualnet"
            ) from error
        self.counters.saved_received += message.nbytes - coded.nbytes
        return message

    def _corrected(self, key: tuple[str, str], array: np.ndarray) -> np.ndarray:
        residual = self._residuals.get(key)
        if residual is None or residual.shape != array.shape:
            return array
        return array + residual

    # What a checkpoint has to hold.

    def state(self) -> dict[str, np.ndarray]:
        """See `Channel.state`."""
        own = {f"{stage}/{name}": values for (stage, name), values in self._residuals.items()}
        return {**self._inner.state(), **own}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """See `Channel.restore`."""
        self._residuals = {}
        for key, values in state.items():
            stage, _, name = key.partition("/")
            self._residuals[stage, name] = np.array(values, np.float32)

    # All else is the carrier's.

    @property
    def role(self) -> str:  # type: ignore[override]
        """ "net1" or "net2"."""
        return self._inner.role

    @property
    def partner(self) -> str:  # type: ignore[override]
        """The other one."""
        return self._inner.partner

    @property
    def counters(self) -> Counters:  # type: ignore[override]
        """Of the carrier, with the bytes saved."""
        return self._inner.counters

    @property
    def awaited(self) -> str:  # type: ignore[override]
        """What the present call waits for."""
        return self._inner.awaited

    @property
    def on_wait(self) -> Callable[[], None] | None:  # type: ignore[override]
        """Called while a call waits."""
        return self._inner.on_wait

    @on_wait.setter
    def on_wait(self, function: Callable[[], None] | None) -> None:
        self._inner.on_wait = function

    @property
    def seq_sent(self) -> int:
        """See `Channel.seq_sent`."""
        return self._inner.seq_sent

    @property
    def seq_received(self) -> int:
        """See `Channel.seq_received`."""
        return self._inner.seq_received

    def handshake(self, hello: dict[str, Any]) -> dict[str, Any]:
        """See `Channel.handshake`."""
        return self._inner.handshake(hello)

    def resume(self, seq_sent: int, seq_received: int) -> None:
        """See `Channel.resume`."""
        self._inner.resume(seq_sent, seq_received)

    def checkpoint_passed(self, iteration: int) -> None:
        """See `Channel.checkpoint_passed`."""
        self._inner.checkpoint_passed(iteration)

    def progress(self) -> None:
        """See `Channel.progress`."""
        self._inner.progress()

    def report(self, state: str) -> None:
        """See `Channel.report`."""
        self._inner.report(state)

    def reserve(self, iteration_bytes: int, iterations: int) -> None:
        """See `Channel.reserve`: what it would take in float32, which is the most."""
        self._inner.reserve(iteration_bytes, iterations)

    def drain(self) -> None:
        """See `Channel.drain`."""
        self._inner.drain()

    def close(self, state: str = "done", wait: bool = True) -> None:
        """See `Channel.close`."""
        self._inner.close(state, wait)


def _is_blob(array: np.ndarray) -> bool:
    return isinstance(array, np.ndarray) and array.dtype == np.float32 and array.ndim >= 2


def _rounded_away(values: np.ndarray, received: np.ndarray) -> np.ndarray:
    """What the other half did not get; nothing where it is no number, or it would stay for ever."""
    with np.errstate(invalid="ignore"):
        lost = values - received
    if not np.isfinite(lost.sum()):
        lost[~np.isfinite(lost)] = 0
    return np.asarray(lost)
