"""The one owner of every name in the exchange directory.

```
exchange/
  manifest.json                     what is run; made once, by the piece that starts first
  secret                            32 random bytes in hex, mode 0600
  net1.gen.000001                   proof that a net1 process started: its epoch is 1
  net1.e000001.heartbeat            net1 is alive, what it does, and whom it waits for
  net1-net2/                        all that these two exchange
    net1.e000001.status             net1's status record: the commit record of its messages
    net1.e000001.hello              net1's part of the handshake
    net1.e000001.address            where net1 listens (carriers tcp and torch)
    net1.e000001.layout.000001      dtypes and shapes of the messages of one kind
    net1.i000000000042.up.pool2.s000000000043.e000001.npy
                                    iteration 42, kind "up", array "pool2", message 43, epoch 1
  .tmp.net1.e000001.4711.91f2…      being written, here and in a link's folder
```

No name is ever used twice for different content, except those of the status record (renamed over)
and the heartbeat (rewritten in place): a network file system may serve a reused name's old content.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, unquote

from dualnet.errors import UsageError
from dualnet.exchange.link import Link

__all__ = ["DataName", "Folder", "LinkPaths", "RunPaths", "check_kind"]

_PIECE = r"(?P<piece>[a-z][a-z0-9]*)"
_EPOCH = r"e(?P<epoch>\d{6})"
_KIND = r"[a-z0-9_-]{1,32}"
_DATA = re.compile(
    rf"{_PIECE}\.i(?P<iteration>\d{{12}})\.(?P<kind>{_KIND})\.(?P<array>[^./]+)"
    rf"\.s(?P<seq>\d{{12}})\.{_EPOCH}(\.r(?P<attempt>\d+))?\.npy"
)
_GENERATION = re.compile(rf"{_PIECE}\.gen\.(?P<epoch>\d{{6}})")
_LAYOUT = re.compile(rf"{_PIECE}\.{_EPOCH}\.layout\.(?P<number>\d{{6,}})")
_TEMPORARY = re.compile(rf"\.tmp\.{_PIECE}\.{_EPOCH}\.(?P<pid>\d+)\.(?P<nonce>[0-9a-f]+)")


def check_kind(kind: str) -> str:
    """Return `kind` if it is a kind of message.

    Raises:
        UsageError: it is not.
    """
    if not re.fullmatch(_KIND, kind):
        raise UsageError(f"kind {kind!r}: 1 to 32 characters of a-z, 0-9, _ and - allowed")
    return kind


@dataclass(frozen=True)
class DataName:
    """The parts of a data file's name.

    Attributes:
        piece: who wrote it.
        iteration, kind, seq: of its message.
        array: which array of the message.
        epoch: of the process that wrote it.
        attempt: 0, or how often the message was resent because it arrived damaged.
    """

    piece: str
    iteration: int
    kind: str
    array: str
    seq: int
    epoch: int
    attempt: int = 0

    def __str__(self) -> str:
        # Caffe allows "/" and "." in blob names; quote() leaves the dot alone.
        array = quote(self.array, safe="").replace(".", "%2E")
        resent = f".r{self.attempt}" if self.attempt else ""
        return (
            f"{self.piece}.i{self.iteration:012d}.{self.kind}.{array}"
            f".s{self.seq:012d}.e{self.epoch:06d}{resent}.npy"
        )

    @classmethod
    def parse(cls, name: str) -> DataName | None:
        """The inverse of str(); None for other names."""
        found = _DATA.fullmatch(name)
        if found is None:
            return None
        return cls(
            piece=found["piece"],
            iteration=int(found["iteration"]),
            kind=found["kind"],
            array=unquote(found["array"]),
            seq=int(found["seq"]),
            epoch=int(found["epoch"]),
            attempt=int(found["attempt"] or 0),
        )


class Folder:
    """A folder in which several pieces publish files.

    Args:
        root: its path.
    """

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)

    def temporary(self, piece: str, epoch: int, nonce: str) -> str:
        """A name that nobody else uses."""
        return os.path.join(self.root, f".tmp.{piece}.e{epoch:06d}.{os.getpid()}.{nonce}")

    @staticmethod
    def parse_temporary(name: str) -> tuple[str, int] | None:
        """Piece and epoch of the writer, or None for other names."""
        found = _TEMPORARY.fullmatch(name)
        return (found["piece"], int(found["epoch"])) if found else None

    def _of(self, piece: str, epoch: int, what: str) -> str:
        return os.path.join(self.root, f"{piece}.e{epoch:06d}.{what}")


class RunPaths(Folder):
    """Paths in the exchange directory of a run: who is there.

    Args:
        root: the directory, RUN_DIR/exchange.
    """

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.manifest = os.path.join(self.root, "manifest.json")
        self.secret = os.path.join(self.root, "secret")

    @classmethod
    def of_run(cls, run_dir: str) -> RunPaths:
        """The exchange directory of a run."""
        return cls(os.path.join(run_dir, "exchange"))

    def link(self, link: Link) -> LinkPaths:
        """The paths of one link."""
        return LinkPaths(os.path.join(self.root, link.name), link)

    def generation(self, piece: str, epoch: int) -> str:
        """The file whose existence is the epoch."""
        return os.path.join(self.root, f"{piece}.gen.{epoch:06d}")

    def heartbeat(self, piece: str, epoch: int) -> str:
        """The heartbeat."""
        return self._of(piece, epoch, "heartbeat")

    @staticmethod
    def parse_generation(name: str) -> tuple[str, int] | None:
        """Piece and epoch, or None for other names."""
        found = _GENERATION.fullmatch(name)
        return (found["piece"], int(found["epoch"])) if found else None


class LinkPaths(Folder):
    """Paths in the folder of one link: what its ends exchange.

    Args:
        root: the folder.
        link: the link.
    """

    def __init__(self, root: str, link: Link) -> None:
        super().__init__(root)
        self.link = link

    def status(self, piece: str, epoch: int) -> str:
        """The status record."""
        return self._of(piece, epoch, "status")

    def address(self, piece: str, epoch: int) -> str:
        """Where the piece listens (carriers tcp and torch)."""
        return self._of(piece, epoch, "address")

    def hello(self, piece: str, epoch: int) -> str:
        """The piece's part of the handshake."""
        return self._of(piece, epoch, "hello")

    def layout(self, piece: str, epoch: int, number: int) -> str:
        """The number-th layout, counted from 1."""
        return self._of(piece, epoch, f"layout.{number:06d}")

    def data(self, name: DataName) -> str:
        """One array of one message."""
        return os.path.join(self.root, str(name))

    @staticmethod
    def layout_numbers(names: Iterable[str], piece: str, epoch: int) -> list[int]:
        """The numbers of the layouts of a piece's epoch among the names of files."""
        found = [_LAYOUT.fullmatch(name) for name in names]
        return [
            int(one["number"])
            for one in found
            if one and (one["piece"], int(one["epoch"])) == (piece, epoch)
        ]
