"""The one owner of every name in the exchange directory.

```
exchange/
  manifest.json                     what is run; made once, by whichever half comes first
  secret                            32 random bytes in hex, mode 0600
  net1.gen.000001                   proof that a net1 process started: its epoch is 1
  net1.e000001.stage                net1's stage-status record: the commit record of its messages
  net1.e000001.heartbeat            net1 is alive, and how it is
  net1.e000001.hello                what net1 said in the handshake
  net1.e000001.address              where net1 listens (carrier tcp)
  net1.e000001.layout.000001        dtypes and shapes of the messages of one stage
  net1.i000000000042.train.pool2.s000000000043.e000001.npy
                                    iteration 42, stage "train", array "pool2", message 43, epoch 1
  .tmp.net1.e000001.4711.91f2…      being written
```

No name is ever used twice for different content, except those of the stage record (renamed over)
and the heartbeat (rewritten in place): a network file system may serve a reused name's old content.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, unquote

from dualnet.errors import UsageError

__all__ = ["DataName", "ExchangePaths", "check_stage_name"]

_ROLE = r"(?P<role>[a-z][a-z0-9]*)"
_EPOCH = r"e(?P<epoch>\d{6})"
_STAGE = r"[a-z0-9_-]{1,32}"
_DATA = re.compile(
    rf"{_ROLE}\.i(?P<iteration>\d{{12}})\.(?P<stage>{_STAGE})\.(?P<array>[^./]+)"
    rf"\.s(?P<seq>\d{{12}})\.{_EPOCH}(\.r(?P<attempt>\d+))?\.npy"
)
_GENERATION = re.compile(rf"{_ROLE}\.gen\.(?P<epoch>\d{{6}})")
_LAYOUT = re.compile(rf"{_ROLE}\.{_EPOCH}\.layout\.(?P<number>\d{{6,}})")
_TEMPORARY = re.compile(rf"\.tmp\.{_ROLE}\.{_EPOCH}\.(?P<pid>\d+)\.(?P<nonce>[0-9a-f]+)")


def check_stage_name(stage: str) -> str:
    """Return `stage` if it is one.

    Raises:
        UsageError: it is not.
    """
    if not re.fullmatch(_STAGE, stage):
        raise UsageError(f"stage {stage!r}: 1 to 32 characters of a-z, 0-9, _ and - allowed")
    return stage


@dataclass(frozen=True)
class DataName:
    """What the name of a data file says.

    Attributes:
        attempt: 0, or how often the message was sent anew because it arrived damaged.
    """

    role: str
    iteration: int
    stage: str
    array: str
    seq: int
    epoch: int
    attempt: int = 0

    def __str__(self) -> str:
        # Caffe allows "/" and "." in blob names; quote() leaves the dot alone.
        array = quote(self.array, safe="").replace(".", "%2E")
        again = f".r{self.attempt}" if self.attempt else ""
        return (
            f"{self.role}.i{self.iteration:012d}.{self.stage}.{array}"
            f".s{self.seq:012d}.e{self.epoch:06d}{again}.npy"
        )

    @classmethod
    def parse(cls, name: str) -> DataName | None:
        """The inverse of str(); None for other names."""
        found = _DATA.fullmatch(name)
        if found is None:
            return None
        return cls(
            role=found["role"],
            iteration=int(found["iteration"]),
            stage=found["stage"],
            array=unquote(found["array"]),
            seq=int(found["seq"]),
            epoch=int(found["epoch"]),
            attempt=int(found["attempt"] or 0),
        )


class ExchangePaths:
    """Paths in one exchange directory.

    Args:
        root: the directory, RUN_DIR/exchange.
    """

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)
        self.manifest = os.path.join(self.root, "manifest.json")
        self.secret = os.path.join(self.root, "secret")

    @classmethod
    def of_run(cls, run_dir: str) -> ExchangePaths:
        """The exchange directory of a run."""
        return cls(os.path.join(run_dir, "exchange"))

    def generation(self, role: str, epoch: int) -> str:
        """The file whose existence is the epoch."""
        return os.path.join(self.root, f"{role}.gen.{epoch:06d}")

    def stage(self, role: str, epoch: int) -> str:
        """The stage-status record."""
        return os.path.join(self.root, f"{role}.e{epoch:06d}.stage")

    def heartbeat(self, role: str, epoch: int) -> str:
        """The heartbeat."""
        return os.path.join(self.root, f"{role}.e{epoch:06d}.heartbeat")

    def address(self, role: str, epoch: int) -> str:
        """Where the half listens (carrier tcp)."""
        return os.path.join(self.root, f"{role}.e{epoch:06d}.address")

    def hello(self, role: str, epoch: int) -> str:
        """What the half said in the handshake."""
        return os.path.join(self.root, f"{role}.e{epoch:06d}.hello")

    def layout(self, role: str, epoch: int, number: int) -> str:
        """The number-th layout, counted from 1."""
        return os.path.join(self.root, f"{role}.e{epoch:06d}.layout.{number:06d}")

    def data(self, name: DataName) -> str:
        """One array of one message."""
        return os.path.join(self.root, str(name))

    def temporary(self, role: str, epoch: int, nonce: str) -> str:
        """A name that nobody else uses."""
        return os.path.join(self.root, f".tmp.{role}.e{epoch:06d}.{os.getpid()}.{nonce}")

    @staticmethod
    def layout_numbers(names: Iterable[str], role: str, epoch: int) -> list[int]:
        """The numbers of the layouts of a role's epoch among the names of files."""
        found = [_LAYOUT.fullmatch(name) for name in names]
        return [
            int(one["number"])
            for one in found
            if one and (one["role"], int(one["epoch"])) == (role, epoch)
        ]

    @staticmethod
    def parse_generation(name: str) -> tuple[str, int] | None:
        """Role and epoch, or None for other names."""
        found = _GENERATION.fullmatch(name)
        return (found["role"], int(found["epoch"])) if found else None

    @staticmethod
    def parse_temporary(name: str) -> tuple[str, int] | None:
        """Role and epoch of the writer, or None for other names."""
        found = _TEMPORARY.fullmatch(name)
        return (found["role"], int(found["epoch"])) if found else None
