"""The settings of the exchange, with their defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from dualnet.errors import ConfigError
from dualnet.exchange.compress import DTYPES
from dualnet.exchange.digest import check_digest

__all__ = ["ExchangeSettings"]

FILESYSTEMS = ("auto", "local", "nfs")


@dataclass(frozen=True)
class ExchangeSettings:
    """Timeouts in seconds, limits in bytes, and how messages are checked, kept and encoded.

    Raises:
        ConfigError: a value has the wrong type or is out of range.
    """

    #: How long a piece waits for its neighbour to start.
    partner_timeout_s: float = 600.0
    #: A heartbeat that is unchanged for so long means that the neighbour is dead.
    dead_after_s: float = 60.0
    #: A live neighbour that makes no progress this long, while we wait for it, is hung.
    hang_timeout_s: float = 1800.0
    #: How long to wait for a dead neighbour to be started again; 0 gives up at once.
    restart_grace_s: float = 0.0
    #: Time between two heartbeats; a short `dead_after_s` makes them more frequent.
    heartbeat_s: float = 5.0
    #: How long a failing disk (full, read-only, I/O error) is retried.
    storage_timeout_s: float = 300.0
    #: How long a message that is announced but damaged is read again before a resend is requested.
    damage_retry_s: float = 5.0
    #: How long to wait for a resend; the neighbour may be computing.
    resend_timeout_s: float = 300.0
    #: Longest sleep between two polls; 0 means 0.02 on a local disk and 0.05 on a network one.
    poll_cap_s: float = 0.0
    #: Whether the file system caches what other machines write: "local" (no), "nfs" (any network
    #: file system), or "auto", which looks the directory up in /proc/mounts. "nfs" also brings
    #: each message to stable storage.
    filesystem: str = "auto"
    #: Check the digest of every array read. Size, shape, origin and order are checked in any case.
    verify: bool = True
    #: Digest algorithm of array data: "sha256", or "blake3", which is faster and needs the package
    #: of that name on all nodes.
    digest: str = "sha256"
    #: Delete a message when this many durable checkpoints of both ends have passed it; 0 deletes
    #: it as soon as the neighbour has it, which makes a restart from a checkpoint impossible.
    retain: int = 2
    #: The most that the messages kept by one end of a link may take on disk.
    disk_budget_bytes: int = 16 << 30
    #: The largest message that a piece accepts; nothing larger is ever allocated.
    max_message_bytes: int = 1 << 30
    #: Threads that compute digests while the data is written or read; 0 computes them inline.
    hash_threads: int = 2
    #: dtype in which cut blobs (up) and targets (down) are sent: float32, float16, bfloat16 or int8
    #: (dualnet/exchange/compress.py); dtype_up and dtype_down where they differ ("": as dtype).
    dtype: str = "float32"
    dtype_up: str = ""
    dtype_down: str = ""
    #: Add the rounding error of a message to the next one.
    error_feedback: bool = False
    #: Names of arrays that are sent unencoded, whatever the dtype.
    exact: tuple[str, ...] = ()
    #: Carriers tcp and torch: where the lower piece of each link listens, as "host:port" for each
    #: link, separated by commas; "" is any free port, which the upper piece finds in the link's
    #: folder.
    address: str = ""
    #: Folder on the node's own disk for the lock against a second copy; "" means
    #: /tmp/dualnet-<uid>, or -2 to -9 behind it if that is another user's.
    lock_dir: str = ""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            expected = type(field.default)
            allowed = (int, float) if expected is float else (expected,)
            if not isinstance(value, allowed) or (expected is not bool and value is True):
                raise ConfigError(
                    f"exchange.{field.name}: expected {expected.__name__}, got {value!r}"
                )
            if isinstance(value, (int, float)) and (value < 0 or math.isnan(value)):
                raise ConfigError(f"exchange.{field.name}: must not be negative, got {value!r}")
        if self.filesystem not in FILESYSTEMS:
            raise ConfigError(
                f"exchange.filesystem: expected one of {', '.join(FILESYSTEMS)}, "
                f"got {self.filesystem!r}"
            )
        for name in ("dtype", "dtype_up", "dtype_down"):
            dtype = getattr(self, name)
            if dtype not in DTYPES and (dtype or name == "dtype"):
                raise ConfigError(
                    f"exchange.{name}: expected one of {', '.join(DTYPES)}, got {dtype!r}"
                )
        check_digest(self.digest)
        for name in ("heartbeat_s", "dead_after_s"):
            if getattr(self, name) == 0:
                raise ConfigError(f"exchange.{name}: must be positive, got 0")

    @property
    def dtypes(self) -> dict[str, str]:
        """Kind to dtype, for the two messages of each iteration."""
        return {"up": self.dtype_up or self.dtype, "down": self.dtype_down or self.dtype}

    @property
    def beat_s(self) -> float:
        """Time between two heartbeats, at least four within `dead_after_s`."""
        return min(self.heartbeat_s, self.dead_after_s / 4)
