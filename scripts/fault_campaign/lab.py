"""Where the campaign trains: a folder with nets and data, and undisturbed reference runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

from dualnet import backend
from dualnet.cli import main
from dualnet.data.sets.prepare import prepare
from dualnet.report.parse import parse_log
from dualnet.rundir import RunDir
from dualnet.training.checkpoint import commit
from dualnet.training.outcome.digest import digest
from scripts.fault_campaign.chain import Chain
from scripts.fault_campaign.training import Training

__all__ = ["ROOT", "Lab", "same", "undisturbed"]

ROOT = Path(__file__).resolve().parents[2]


class Lab:
    """A working directory as a user has one, with reference trainings that nobody disturbs.

    Args:
        folder: an empty folder; the process changes into it.
        pieces: of the chain.
    """

    def __init__(self, folder: Path, pieces: int) -> None:
        self.folder = folder
        self.chain = Chain(pieces)
        self._whole: dict[tuple[str, ...], str] = {}
        os.environ["GLOG_minloglevel"] = "1"  # noqa: SIM112 (glog's own name)
        for name in ("configs", "prototxt"):
            (folder / name).symlink_to(ROOT / name)
        os.chdir(folder)
        prepare("digits", out=folder / "data" / "digits")
        words = self.chain.write_single(ROOT, folder)
        with self.training("split") as training:
            # In a child: threads that a net's forward pass starts must not be forked.
            training.pids["split"] = training.fork("split.err", lambda: main(words))
            if training.wait("split") != 0:
                raise RuntimeError(f"dualnet split failed: {training.errors('split')}")
        # What the pieces import when they start.
        import dualnet.training.start.progress
        import dualnet.training.start.run  # noqa: F401

        assert_provider = backend.caffe  # imports the provider before forking
        self.provider = backend.provider if assert_provider else ""

    @contextmanager
    def training(self, name: str, settings: tuple[str, ...] = ()) -> Iterator[Training]:
        """A new training; its processes end with the context, its files stay after a failure."""
        training = Training(name, settings, self.chain)
        try:
            yield training
        finally:
            training.end()

    def whole(self, settings: tuple[str, ...]) -> str:
        """The run directory of an undisturbed training with these settings; made once."""
        if settings not in self._whole:
            name = f"whole{len(self._whole)}"
            with self.training(name, settings) as training:
                undisturbed(training)
            self._whole[settings] = name
        return self._whole[settings]

    def verdict(self, training: Training, settings: Optional[tuple[str, ...]] = None) -> str:
        """What is wrong with a training that comes to its end; "" if nothing is.

        Args:
            training: which.
            settings: those that decide what is trained; default all of its.
        """
        codes = training.wait_all()
        if set(codes.values()) != {0}:
            return f"exit codes {codes}: {training.all_errors()}"
        whole = self.whole(training.settings if settings is None else settings)
        return same(whole, training.run_dir, self.chain)

    def remove(self, training: Training) -> None:
        """Remove the files of a training."""
        shutil.rmtree(training.run_dir, ignore_errors=True)
        for path in self.folder.glob(f"{training.run_dir}-*"):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def undisturbed(training: Training, limit_s: float = 600.0) -> None:
    """Train to the end.

    Raises:
        RuntimeError: a piece has failed.
    """
    training.start_all()
    codes = training.wait_all(limit_s)
    if set(codes.values()) != {0}:
        raise RuntimeError(f"an undisturbed training ended with {codes}: {training.all_errors()}")


def same(one: str, other: str, chain: Chain) -> str:
    """How two runs differ in weights, solver history, losses or tests; "" if they do not."""
    if digest(RunDir(one)) != digest(RunDir(other)):
        return "the digest differs"
    for piece in chain.names:
        if _rows(one, piece) != _rows(other, piece):
            return f"the losses of {piece} differ"
        if commit.complete(RunDir(one).piece(piece)) and not commit.complete(
            RunDir(other).piece(piece)
        ):
            return f"{piece} is not marked as complete"
    left = [name for name in os.listdir(other) if "tmp" in name]
    left += [path.name for path in Path(other, "exchange").rglob(".tmp*")]
    return f"left behind: {', '.join(left)}" if left else ""


def _rows(run_dir: str, piece: str) -> Any:
    """What a log says about iterations and tests, without times."""
    log = parse_log(RunDir(run_dir).piece(piece).log)

    def facts(rows: Any) -> list[Any]:
        return [(row.iteration, row.loss, row.learning_rate, row.outputs) for row in rows]

    return log.done, facts(log.train), {net: facts(rows) for net, rows in log.tests.items()}
