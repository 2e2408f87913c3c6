"""A run as a program of PyTorch's or an ONNX file: what `dualnet export` writes."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from dualnet.atomic import replace
from dualnet.backend import provider
from dualnet.config import Config
from dualnet.engine.export import onnx_file, program
from dualnet.engine.export.module import NetModule, net_module
from dualnet.engine.export.program import Runner
from dualnet.errors import ConfigError, StorageFailed, UsageError
from dualnet.report.exported import FACTS, kind_of
from dualnet.rundir import RunDir
from dualnet.strict_json import to_json
from dualnet.training.checkpoint import caffe_files
from dualnet.training.outcome.deployed import Batch, Deployed, deployed, deployed_without_data
from dualnet.training.outcome.preprocessing import preprocessing
from dualnet.training.outcome.whole import dual_source, join

__all__ = ["Exported", "export"]

#: The largest difference of a score, or relative to the largest score where that exceeds 1: scores
#: of 100 differ by 1e-5 where their last bit does.
_TOLERANCE = 1e-5


class Exported(NamedTuple):
    """What was written.

    Attributes:
        path: The file.
        difference: The largest between its scores and the engine's.
        samples: How many it was tried on.
        is_data: Whether they were of the data set; else random numbers.
    """

    path: str
    difference: float
    samples: int
    is_data: bool


def export(
    run: RunDir,
    config: Config,
    output: str,
    dual: str = "upper",
    iteration: Optional[int] = None,
    given: Optional[Mapping[str, Sequence[int]]] = None,
    batches: int = 3,
    force: bool = False,
) -> Exported:
    """Write the net that a run trained, its preprocessing and its classes as one file.

    The file is loaded again and tried before it gets its name.

    Args:
        run: The run, of a chain or of the single net.
        config: Its config.
        output: The file; its extension, .pt2 or .onnx, says what it is to be.
        dual: Whose dual layers it has; see `merge`.
        iteration: A snapshot's iteration; default the latest.
        given: Blob of a data layer to the shape of one sample: the data set is not here.
        batches: How many batches it is tried on.
        force: Replace a file that is there.

    Raises:
        UsageError: There is no such snapshot, the file is there already, or its extension is none.
        UnsupportedError: Layers cannot be exported, or a package is missing.
        ConfigError: The pieces do not fit together, data is missing, or scores differ.
        StorageFailed: The file cannot be written.
    """
    kind = kind_of(output)
    _check(output, batches, force)
    if kind == ".onnx":
        onnx_file.check_packages()
    number, pieces = caffe_files.find(run, iteration)
    joined = join(config, pieces, number, dual_source(dual, pieces))
    try:
        # Beside the target: where that has no room, it shows before anything is replaced.
        with tempfile.TemporaryDirectory(
            prefix=".export-", dir=os.path.dirname(output) or "."
        ) as scratch:
            if given:
                net = deployed_without_data(joined, given, scratch)
            else:
                net = deployed(joined, config, pieces, scratch)
            # Tracing replaces the parameters of the net that it goes through.
            module = net_module(net.load(), list(net.deploy.predictions))
            judge = net.load()
            shapes = {name: list(blob.shape) for name, blob in judge.blobs.items()}
            facts = preprocessing(joined, net.deploy, shapes)
            facts = {"net": joined.net.name, "iteration": number, **facts}
            path = os.path.join(scratch, f"exported{kind}")
            runner = _write(kind, module, path, {FACTS: to_json(facts, indent=1)})
            difference, samples = _compare(output, judge, runner, net, batches)
            replace(path, output)
    except OSError as error:
        raise StorageFailed(
            f"{output}: cannot write the exported net: {error.strerror or error}; choose another "
            "-o FILE"
        ) from error
    return Exported(output, difference, samples, net.is_data)


def _check(output: str, batches: int, force: bool) -> None:
    if provider != "engine":
        raise UsageError(
            "BVLC Caffe cannot export: set DUALNET_CAFFE=engine where PyTorch is installed; the "
            "weights are the same"
        )
    if batches < 1:
        raise UsageError(f"--batches {batches}: at least one batch is needed")
    if os.path.lexists(output) and not force:
        raise UsageError(f"{output} exists already: give --force to replace it, or another -o FILE")


def _write(kind: str, module: NetModule, path: str, texts: Mapping[str, str]) -> Runner:
    """Write the file and load it again."""
    traced = program.trace(module)
    if kind == ".pt2":
        program.write_pt2(traced, path, texts)
        return program.open_pt2(path)
    onnx_file.write_onnx(traced, path, module.input_names, module.output_names, texts)
    return onnx_file.open_onnx(path)


def _compare(
    label: str, judge: Any, runner: Runner, net: Deployed, batches: int
) -> tuple[float, int]:
    """Compare what was written with the engine, on batches and on a sample alone.

    Returns:
        The largest difference, and the number of samples.

    Raises:
        ConfigError: A score differs by more than `_TOLERANCE`.
    """
    largest, samples = 0.0, 0
    for batch in itertools.islice(net.batches, batches):
        count = len(next(iter(batch.values())))
        alone = {blob: values[:1] for blob, values in batch.items()}
        for part in (batch, alone) if count > 1 and not samples else (batch,):
            found = _run(label, runner, [part[blob] for blob in judge.inputs])
            expected = _scores(judge, part, net.deploy.predictions)
            for blob, values in expected.items():
                largest = max(largest, _difference(label, blob, values, found[blob]))
        samples += count
    return largest, samples


def _run(label: str, runner: Runner, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """What the file that was written predicts.

    Raises:
        ConfigError: It does not run.
    """
    try:
        return runner(inputs)
    except Exception as error:  # of PyTorch or ONNX Runtime: whatever a wrong program does
        shapes = ", ".join(str(values.shape) for values in inputs)
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"{label}: does not run on inputs of shape {shapes} when it is loaded again: {reason}; "
            "nothing was written"
        ) from error


def _scores(judge: Any, batch: Batch, blobs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What the engine predicts."""
    for blob, values in batch.items():
        judge.blobs[blob].reshape(*values.shape)
        judge.blobs[blob].data[...] = values
    judge.forward()
    return {blob: judge.blobs[blob].data.copy() for blob in blobs}


def _difference(label: str, blob: str, expected: np.ndarray, found: np.ndarray) -> float:
    """The largest difference of a batch's scores.

    Raises:
        ConfigError: It is too large.
    """
    if expected.shape != found.shape:
        raise ConfigError(
            f"{label}: {blob} has shape {found.shape} when it is loaded again, and "
            f"{expected.shape} on the engine; nothing was written"
        )
    finite = np.isfinite(expected)
    scale = max(1.0, float(np.abs(expected[finite]).max(initial=0.0)))
    with np.errstate(invalid="ignore"):
        apart = np.where(expected == found, 0.0, np.abs(expected - found))
    apart[np.isnan(expected) & np.isnan(found)] = 0.0
    wrong = ~(apart <= _TOLERANCE * scale)
    if wrong.any():
        place = np.unravel_index(int(np.argmax(np.where(wrong, apart, -1.0))), apart.shape)
        raise ConfigError(
            f"{label}: {blob}{[int(i) for i in place]} is {found[place]:.8g} when it is loaded "
            f"again and {expected[place]:.8g} on the engine, where {_TOLERANCE * scale:.0e} is the "
            "largest difference allowed; nothing was written"
        )
    return float(apart.max(initial=0.0))
