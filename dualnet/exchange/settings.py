"""What the exchange is told: the keys of the configuration, and what the code decides."""

from __future__ import annotations

from dataclasses import dataclass, fields

from dualnet.config.exchange import Exchange
from dualnet.config.keys import key, wrong_values
from dualnet.errors import ConfigError
from dualnet.exchange.digest import check_digest

__all__ = ["ExchangeSettings"]


@dataclass(frozen=True)
class ExchangeSettings(Exchange):
    """The keys of `exchange`, and how messages are kept and checked, which no user has to set.

    Times are in seconds, limits in bytes.

    Raises:
        ConfigError: A value has the wrong type, is not allowed, or needs what is not installed.
    """

    #: Without checkpoints nobody is waited for.
    restart_grace_s: float = key(0.0, least=0)
    #: Time between two heartbeats; a short `dead_after_s` makes them more frequent.
    heartbeat_s: float = key(5.0, above=0)
    #: How long a message that is announced but damaged is read again before a resend is requested.
    damage_retry_s: float = key(5.0, least=0)
    #: How long to wait for a resend; the neighbour may be computing.
    resend_timeout_s: float = key(300.0, least=0)
    #: Delete a message when this many durable checkpoints of both ends have passed it; 0 deletes
    #: it as soon as the neighbour has it, which makes a restart from a checkpoint impossible.
    retain: int = key(2, least=0)
    #: Most threads that compute digests while the data is written or read; 0 computes them inline.
    hash_threads: int = key(2, least=0)
    #: Names of arrays that are sent unencoded, whatever the dtype.
    exact: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for entry in fields(self):
            value, expected = getattr(self, entry.name), type(entry.default)
            allowed = (int, float) if expected is float else (expected,)
            if not isinstance(value, allowed) or (expected is not bool and value is True):
                raise ConfigError(
                    f"exchange.{entry.name}: expected {expected.__name__}, found {value!r}"
                )
        for name, problem in wrong_values(self):
            raise ConfigError(f"exchange.{name}: {problem}")
        check_digest(self.digest)

    @property
    def dtypes(self) -> dict[str, str]:
        """Kind to dtype, for the two messages of each iteration."""
        return {"up": self.dtype_up or self.dtype, "down": self.dtype_down or self.dtype}

    @property
    def beat_s(self) -> float:
        """Time between two heartbeats, at least four within `dead_after_s`."""
        return min(self.heartbeat_s, self.dead_after_s / 4)
