"""The keys of `exchange`: how neighbouring pieces reach, hear and trust each other.

`dualnet.exchange.settings` adds to them what the code decides and no user does.
"""

from __future__ import annotations

from dataclasses import dataclass

from dualnet.config.keys import key

__all__ = ["CARRIERS", "DIGESTS", "DTYPES", "FILESYSTEMS", "Exchange"]

CARRIERS = ("files", "tcp", "torch")
DTYPES = ("float32", "float16", "bfloat16", "int8")
#: Digests of arrays; both have 32 bytes.
DIGESTS = ("sha256", "blake3")
FILESYSTEMS = ("auto", "local", "nfs")


@dataclass(frozen=True)
class Exchange:
    """How neighbours exchange messages (docs/explanation/exchange.md)."""

    #: `files` in a directory that all pieces share, `tcp`, or `torch`, which is torch.distributed
    #: over gloo (docs/explanation/carriers.md).
    carrier: str = key("files", one_of=CARRIERS)
    #: Carriers tcp and torch: where the lower piece of each link listens, `host:port` for each
    #: link, separated by commas. Empty: any free port, which the upper piece finds in the link's
    #: folder.
    address: str = ""
    #: In what the cut blobs (up) and what net2 answers (down) travel; int8 has one scale for each
    #: channel. Labels, weights and test batches always travel as they are.
    dtype: str = key("float32", one_of=DTYPES)
    #: For what goes up alone; empty: `dtype`.
    dtype_up: str = key("", one_of=("", *DTYPES))
    #: For what comes down alone; empty: `dtype`.
    dtype_down: str = key("", one_of=("", *DTYPES))
    #: Add the rounding error of a message to the next one.
    error_feedback: bool = False
    #: Longest wait for a neighbour to be started.
    partner_timeout_s: float = key(600.0, least=0)
    #: A neighbour whose heartbeat is unchanged for so long is dead.
    dead_after_s: float = key(60.0, above=0)
    #: A neighbour that is alive but makes no progress for so long, while this piece waits for it,
    #: is hung; not while it waits for a third piece itself.
    hang_timeout_s: float = key(1800.0, least=0)
    #: Where there are checkpoints: how long neighbours wait for a piece that died or was stopped
    #: to be started again.
    restart_grace_s: float = key(600.0, least=0)
    #: How long a full or failing disk is retried before the run gives up.
    storage_timeout_s: float = key(300.0, least=0)
    #: Longest pause between two polls for a neighbour's message; 0: 0.02 on a local disk, 0.05 on
    #: a network one.
    poll_cap_s: float = key(0.0, least=0)
    #: `local`, `nfs` (any network file system: messages are flushed), or `auto`.
    filesystem: str = key("auto", one_of=FILESYSTEMS)
    #: Check the digest of every array read.
    verify: bool = True
    #: Digest of the arrays. `blake3` takes about a quarter of SHA-256's time; both nodes need the
    #: package of that name (`pip install blake3`).
    digest: str = key("sha256", one_of=DIGESTS)
    #: Folder on each node's own disk for the lock against a second copy of a piece; empty:
    #: /tmp/dualnet-UID.
    lock_dir: str = ""
    #: The largest message that is sent or accepted. Raise it for all pieces.
    max_message_bytes: int = key(1 << 30, least=0)
    #: The most that one piece's messages may take on the disk; where there are checkpoints, those
    #: of about three intervals are kept.
    disk_budget_bytes: int = key(16 << 30, least=0)
