"""The one owner of every name in a run directory.

```
RUN_DIR/
  config.yaml                       the configuration as resolved; made by the first start
  run.json                          which run it is: its number and kind
  diverged                          iteration of the first loss that was NaN or infinite
  exchange/                         what the pieces send each other (exchange/paths.py)
  net1.log                          net1's log, in Caffe's format
  net1.out                          what its process printed, where `dualnet train` started it
  net1.status.json                  how far it is, for `dualnet status`
  net1_inputs.json                  what it was made of when it was last started
  net1.run.json                     its lives: each start, where, with what, and how it ended
  tensorboard/net1/                 its series as event files, if `tracking` says so
  net1_solver.prototxt              its solver as used
  net1_train_test.prototxt          its net as used
  net1_iter_100.caffemodel          weights after 100 iterations
  net1_iter_100.solverstate         the solver's history
  net1_iter_100.exchange.npz        further state, where there is any: of the exchange, of momentum
  net1_iter_100.checkpoint.json     the record, without which they are no checkpoint
  .net1.tmp…                        being written
  net1_iter_100.caffemodel.….aside  was no file and in the way of one
```

and so on for `net2` to `netK`; a run of the uncut net has `single` instead. These names are users'
names, too: a run that an earlier version began goes on under them.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional

from dualnet.errors import UsageError

__all__ = ["PieceDir", "RunDir", "Snapshot"]

_PIECE = re.compile(r"single|net[1-9]\d*")
_RECORD, _WEIGHTS, _STATE = "checkpoint.json", "caffemodel", "solverstate"
_LOG, _SOLVER, _NET = ".log", "_solver.prototxt", "_train_test.prototxt"


@dataclass(frozen=True)
class RunDir:
    """A run directory, which need not exist.

    Attributes:
        path: as the user calls it; what goes into messages.
    """

    path: str

    def __str__(self) -> str:
        return self.path

    def __fspath__(self) -> str:
        return self.path

    @property
    def config(self) -> str:
        """The configuration that the run was started with, resolved."""
        return os.path.join(self.path, "config.yaml")

    @property
    def identity(self) -> str:
        """Which run it is."""
        return os.path.join(self.path, "run.json")

    @property
    def diverged(self) -> str:
        """The iteration of the first loss that was NaN or infinite, of an experiment's run."""
        return os.path.join(self.path, "diverged")

    @property
    def exchange(self) -> str:
        """The folder of the messages; what is in it is named in exchange/paths.py."""
        return os.path.join(self.path, "exchange")

    def piece(self, name: str) -> PieceDir:
        """The files of a piece: `single`, or `net1` to `netK`."""
        return PieceDir(self, name)

    def logged(self) -> list[PieceDir]:
        """The pieces that have a log here, from the data to the loss; `single` last."""
        return self._having(_LOG)

    def pieces(self) -> list[PieceDir]:
        """The pieces that have trained here: `single` alone, or the chain in its order.

        A chain has at least two, and none is left out that others lie above.

        Raises:
            UsageError: There is no run here.
        """
        found = [piece.name for piece in self._having(_SOLVER)]
        if "single" in found:
            return [self.piece("single")]
        if "net1" not in found:
            raise UsageError(f"{self}: no run here (no single{_SOLVER} or net1{_SOLVER})")
        count = max(2, int(found[-1][len("net") :]))
        return [self.piece(f"net{number}") for number in range(1, count + 1)]

    def _having(self, ending: str) -> list[PieceDir]:
        """The pieces that have a file of this ending."""
        try:
            names = os.listdir(self.path)
        except OSError:
            return []
        stems = [name[: -len(ending)] for name in names if name.endswith(ending)]
        found = [self.piece(stem) for stem in stems if _PIECE.fullmatch(stem)]
        found.sort(key=lambda piece: (piece.name == "single", len(piece.name), piece.name))
        return found


@dataclass(frozen=True)
class PieceDir:
    """The files of one piece in a run directory.

    Attributes:
        run: the directory.
        name: the piece's.
    """

    run: RunDir
    name: str

    @property
    def log(self) -> str:
        """Its log, in Caffe's format."""
        return self._path(_LOG)

    @property
    def output(self) -> str:
        """What its process wrote to its standard output and error."""
        return self._path(".out")

    @property
    def status(self) -> str:
        """Its status file, written while it runs."""
        return self._path(".status.json")

    @property
    def inputs(self) -> str:
        """The record of what it was made of."""
        return self._path("_inputs.json")

    @property
    def lives(self) -> str:
        """Its lives (report/lives.py)."""
        return self._path(".run.json")

    @property
    def events(self) -> str:
        """The folder of its series as TensorBoard reads them."""
        return os.path.join(self.run.path, "tensorboard", self.name)

    @property
    def solver(self) -> str:
        """Its solver as used."""
        return self._path(_SOLVER)

    @property
    def net(self) -> str:
        """Its net as used, phases TRAIN and TEST."""
        return self._path(_NET)

    @property
    def temporary(self) -> str:
        """What the name of each temporary file begins with that another start of it may remove."""
        return os.path.join(self.run.path, f".{self.name}.tmp")

    def at(self, iteration: int) -> Snapshot:
        """The files of its checkpoint after `iteration` updates."""
        return Snapshot(os.path.join(self.run.path, self.name), iteration)

    def recorded(self, names: Iterable[str]) -> list[int]:
        """The iterations that have a checkpoint's record, of the names in the directory."""
        return self._iterations(names, _RECORD)

    def saved(self, names: Iterable[str]) -> list[int]:
        """The iterations that have weights, of the names in the directory."""
        return self._iterations(names, _WEIGHTS)

    def has_written(self, name: str) -> bool:
        """Whether a file is this piece's, by its name in the run directory or its exchange."""
        return name.startswith((f"{self.name}_", f"{self.name}."))

    def is_temporary(self, name: str) -> bool:
        """Whether a file is one that a killed start of this piece may have left."""
        own = re.escape(self.name)
        return re.fullmatch(rf"\.{own}\.tmp[._].*|{own}_.*\.tmp", name) is not None

    def is_of_checkpoint(self, name: str) -> bool:
        """Whether a file has the name of one that belongs to a checkpoint of this piece."""
        kinds = rf"{_WEIGHTS}|{_STATE}|{re.escape(_RECORD)}|.*\.npz"
        return re.fullmatch(rf"{re.escape(self.name)}_iter_\d+\.({kinds})", name) is not None

    def aside(self, name: str) -> str:
        """An unused path, for what is no file and has the name of a checkpoint's file."""
        return os.path.join(self.run.path, f"{name}.{os.getpid()}-{time.time_ns():x}.aside")

    def _path(self, ending: str) -> str:
        return os.path.join(self.run.path, self.name + ending)

    def _iterations(self, names: Iterable[str], kind: str) -> list[int]:
        pattern = re.compile(rf"{re.escape(self.name)}_iter_(\d+)\.{re.escape(kind)}")
        return [int(found[1]) for found in map(pattern.fullmatch, names) if found]


@dataclass(frozen=True)
class Snapshot:
    """The files of one iteration as a solver names them, and what dualnet puts beside them.

    Attributes:
        prefix: the solver's `snapshot_prefix`.
        iteration: updates done.
    """

    prefix: str
    iteration: int

    @classmethod
    def of(cls, path: str) -> Optional[Snapshot]:
        """The snapshot that a file belongs to, by its name; None for others."""
        found = re.fullmatch(r"(\w+)_iter_(\d+)\.\w+", os.path.basename(path))
        if found is None:
            return None
        return cls(os.path.join(os.path.dirname(path), found[1]), int(found[2]))

    @property
    def piece(self) -> PieceDir:
        """Whose it is."""
        directory, name = os.path.split(self.prefix)
        return PieceDir(RunDir(directory), name)

    @property
    def stem(self) -> str:
        """What all its names begin with."""
        return f"{self.prefix}_iter_{self.iteration}"

    @property
    def weights(self) -> str:
        """Weights, in Caffe's format."""
        return f"{self.stem}.{_WEIGHTS}"

    @property
    def state(self) -> str:
        """The solver's history, in Caffe's format."""
        return f"{self.stem}.{_STATE}"

    @property
    def record(self) -> str:
        """The record, without which the others are no checkpoint."""
        return f"{self.stem}.{_RECORD}"

    @property
    def room(self) -> str:
        """What is written first, to see whether the others have room."""
        return f"{self.stem}.room"

    def extras(self, kind: str) -> str:
        """Further state: "exchange", "momentum"."""
        return f"{self.stem}.{kind}.npz"
