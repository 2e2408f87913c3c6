"""Sending in fewer bits; the training loops do not know.

A channel encodes what it sends and decodes what it receives. Encoded are the float32 arrays with
two or more axes in messages of kinds `up` and `down`, labels excepted. All other kinds (x, tie,
test) are sent as they are.

With error feedback the rounding error of a message is added to the next one of the same kind and
shape before that is rounded, so that errors do not add up over many iterations. The residuals
belong in a checkpoint (`Restart.state`): a piece that starts again without them would send other
bytes than before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from dualnet.config.exchange import DTYPES
from dualnet.errors import ConfigError, DamagedMessage
from dualnet.exchange.channel import Message
from dualnet.exchange.compress import decode, encode
from dualnet.exchange.settings import ExchangeSettings

__all__ = ["Codec"]


class Codec:
    """Encodes the messages that one end of a link sends, and decodes those that it receives.

    Args:
        dtypes: kind to one of `config.exchange.DTYPES`, for the kinds whose messages are encoded;
            what follows the letters of a kind (`up-00001`) does not count.
        exact: names of arrays that are never encoded: labels.
        error_feedback: add the rounding error of a message to the next one.

    Raises:
        ConfigError: no such dtype.
    """

    def __init__(
        self,
        dtypes: Mapping[str, str],
        exact: Collection[str] = (),
        error_feedback: bool = False,
    ) -> None:
        for kind, dtype in dtypes.items():
            if dtype not in DTYPES:
                raise ConfigError(
                    f"exchange.dtype of kind {kind}: expected one of {', '.join(DTYPES)}, "
                    f"got {dtype!r}"
                )
        self._dtypes = dict(dtypes)
        self._exact = frozenset(exact)
        self._feedback = error_feedback
        #: Kind and array name to what rounding has taken from it so far.
        self._residuals: dict[tuple[str, str], np.ndarray] = {}
        self._next_residuals: dict[tuple[str, str], np.ndarray] = {}

    @property
    def is_needed(self) -> bool:
        """Whether anything is encoded; else all messages stay as they are."""
        return set(self._dtypes.values()) != {"float32"}

    @classmethod
    def of(cls, settings: ExchangeSettings) -> Codec:
        """The codec that settings ask for."""
        return cls(settings.dtypes, settings.exact, settings.error_feedback)

    def encode(self, message: Message) -> Message:
        """The message as it is sent; call `sent` once it was."""
        self._next_residuals = {}
        # Batches of one iteration are numbered: up-00000, up-00001, …
        dtype = self._dtypes.get(message.kind.rstrip("0123456789").rstrip("-"), "float32")
        if dtype == "float32":
            return message
        arrays: dict[str, np.ndarray] = {}
        for name, array in message.arrays.items():
            if name in self._exact or not _is_blob(array):
                arrays[name] = array
                continue
            key = (message.kind, name)
            values = self._corrected(key, array)
            encoded = encode(name, values, dtype)
            arrays.update(encoded)
            if self._feedback:
                self._next_residuals[key] = _rounded_away(values, decode(encoded)[name])
        return replace(message, arrays=arrays)

    def sent(self) -> None:
        """The message that was encoded last has been sent: its rounding errors count from now on.

        One that could not be sent leaves the residuals as they were, and may be encoded again.
        """
        self._residuals.update(self._next_residuals)

    def decode(self, message: Message, sender: str) -> Message:
        """The message as it was before `encode`.

        Raises:
            DamagedMessage: it was not encoded as this program does.
        """
        if not self.is_needed:
            return message
        try:
            return replace(message, arrays=decode(message.arrays))
        except (KeyError, ValueError) as error:
            raise DamagedMessage(
                f"{message.kind} {message.iteration} of {sender}: not encoded as this program does "
                f"({error}); run all pieces with one version of dualnet"
            ) from error

    def _corrected(self, key: tuple[str, str], array: np.ndarray) -> np.ndarray:
        residual = self._residuals.get(key)
        if residual is None or residual.shape != array.shape:
            return array
        return array + residual

    def state(self) -> dict[str, np.ndarray]:
        """See `Restart.state`: the residuals."""
        return {f"{kind}/{name}": values for (kind, name), values in self._residuals.items()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """See `Restart.restore`."""
        self._residuals = {}
        for key, values in state.items():
            kind, _, name = key.partition("/")
            self._residuals[kind, name] = np.array(values, np.float32)


def _is_blob(array: np.ndarray) -> bool:
    return isinstance(array, np.ndarray) and array.dtype == np.float32 and array.ndim >= 2


def _rounded_away(values: np.ndarray, received: np.ndarray) -> np.ndarray:
    """What the neighbour did not get; 0 where it is NaN or infinite, or it would stay for ever."""
    with np.errstate(invalid="ignore"):
        lost = values - received
    if not np.isfinite(lost.sum()):
        lost[~np.isfinite(lost)] = 0
    return np.asarray(lost)
