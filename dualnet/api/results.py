"""Runs and what they have trained: scores, curves, one model of all pieces."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Optional

from dualnet import config as cfg
from dualnet.config import Config
from dualnet.config.provider import use_provider
from dualnet.errors import UsageError
from dualnet.rundir import RunDir

if TYPE_CHECKING:  # NumPy above all: a piece sets its numbers of threads before that is loaded
    import numpy as np

    from dualnet.report.status import RunStatus
    from dualnet.training.outcome.export import Exported

__all__ = ["Curve", "Run", "evaluate", "export", "merge", "runs"]


class Curve(NamedTuple):
    """One series of a run.

    Attributes:
        iterations: (K,) int64, those at which it was logged.
        values: (K,) float64; infinite or NaN where it was.
    """

    iterations: np.ndarray
    values: np.ndarray


class Run:
    """A run directory: one training, of all its pieces.

    Args:
        path: The directory.

    Raises:
        ConfigError: There is no run in it, as soon as its config is asked for.
    """

    def __init__(self, path: str) -> None:
        self.dir = RunDir(str(path))

    def __repr__(self) -> str:
        return f"Run({self.path!r})"

    @property
    def path(self) -> str:
        """The run directory."""
        return self.dir.path

    @property
    def config(self) -> Config:
        """The configuration that it was started with, every default filled in."""
        return cfg.load_run(self.dir)

    def status(self) -> RunStatus:
        """What each piece is doing, whatever state it is in."""
        from dualnet.report.status import status

        return status(self.dir)

    def evaluate(
        self,
        iteration: Optional[int] = None,
        batches: Optional[int] = None,
        progress: Optional[Callable[[int, int], None]] = None,
    ) -> dict[str, Any]:
        """Score the latest checkpoint on the test set, in this process and on the CPU.

        Args:
            iteration: A checkpoint's iteration; default the latest.
            batches: Test batches; default the solver's test_iter.
            progress: Called with (batches done, batches in all).

        Returns:
            {"accuracy", "loss", "samples", "iteration"} and further test outputs by name.

        Raises:
            UsageError: There is no such checkpoint.
        """
        loaded = self._with_provider()
        from dualnet.training.outcome.evaluate import evaluate

        return evaluate(self.dir, loaded, iteration, batches, progress)

    def merge(
        self,
        output: str,
        dual: str = "upper",
        iteration: Optional[int] = None,
        force: bool = False,
    ) -> list[str]:
        """Write one caffemodel of all pieces, and its train_test and deploy prototxt.

        Args:
            output: The caffemodel; the prototxt go beside it.
            dual: Whose dual layers beside each cut, "upper" or "lower".
            iteration: A checkpoint's iteration; default the latest.
            force: Replace what is there.

        Returns:
            The files written.

        Raises:
            UsageError: A file is there already, or there is no such checkpoint.
            StorageFailed: A file cannot be written.
        """
        loaded = self._with_provider()
        from dualnet.training.outcome.merge import merge

        return merge(self.dir, loaded, output, dual, iteration, force)

    def export(
        self,
        output: str,
        dual: str = "upper",
        iteration: Optional[int] = None,
        shapes: Optional[Mapping[str, Sequence[int]]] = None,
        batches: int = 3,
        force: bool = False,
    ) -> Exported:
        """Write the net as a PyTorch exported program or as ONNX, with its preprocessing.

        The file is loaded again and must give the engine's scores, within 1e-5.

        Args:
            output: The file; its extension, .pt2 or .onnx, says what it is to be.
            dual, iteration, force: As of `merge`.
            shapes: Blob of a data layer to the shape of one sample, where the data set is not here.
            batches: How many batches it is tried on.

        Raises:
            UsageError: PyTorch is not installed, or a file is there already.
            ConfigError: A layer cannot be exported.
        """
        if importlib.util.find_spec("torch") is None:
            raise UsageError(
                "dualnet export needs PyTorch, which is not installed here: run pip install "
                "'dualnet[engine]'; a run that BVLC Caffe trained can be exported on any machine"
            )
        loaded = self._with_provider()
        # Whoever trained it: BVLC Caffe's weights are the engine's, and PyTorch traces the engine.
        os.environ["DUALNET_CAFFE"] = "engine"
        from dualnet.training.outcome.export import export

        return export(self.dir, loaded, output, dual, iteration, shapes, batches, force)

    def digest(self, iteration: Optional[int] = None) -> str:
        """SHA-256 over the weights and the solvers' history of all pieces, as hexadecimal text."""
        self._with_provider()
        from dualnet.training.outcome.digest import digest

        return digest(self.dir, iteration)

    def curves(self) -> dict[str, Curve]:
        """Every series of the logs.

        Returns:
            "loss" (of the piece that classifies) and "accuracy" (of the tests), then each output of
            each piece, as "net1:loss" or "net2:test:accuracy".

        Raises:
            UsageError: No piece has a log.
        """
        from dualnet.report.runs import read_runs

        (read,) = read_runs([self.path])
        found = {"loss": read.classification_loss(), "accuracy": read.accuracy()}
        found.update({name: read.series(name) for name in read.names()})
        return {name: Curve(*points) for name, points in found.items() if points[0].size}

    def _with_provider(self) -> Config:
        loaded = self.config
        use_provider(loaded)
        return loaded


def runs(directory: str = "runs") -> list[Run]:
    """The runs below a directory, by name.

    Raises:
        UsageError: There is no such directory.
    """
    from dualnet.report.compare.listing import find_runs

    return [Run(found.path) for found in find_runs(directory)]


def evaluate(
    run_dir: str, iteration: Optional[int] = None, batches: Optional[int] = None
) -> dict[str, Any]:
    """Score a run on its test set; see `Run.evaluate`."""
    return Run(run_dir).evaluate(iteration, batches)


def merge(run_dir: str, output: str, **more: Any) -> list[str]:
    """Write one caffemodel of a run's pieces; see `Run.merge`."""
    return Run(run_dir).merge(output, **more)


def export(run_dir: str, output: str, **more: Any) -> Exported:
    """Write a run's net for PyTorch or ONNX Runtime; see `Run.export`."""
    return Run(run_dir).export(output, **more)
