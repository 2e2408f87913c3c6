"""How long each layer of a net takes, and its weights' update: measured on the provider itself."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any, Callable, NamedTuple, Union

import numpy as np
from google.protobuf import text_format

from dualnet.backend import caffe, caffe_pb2, provider
from dualnet.cut.data_files import locate_files
from dualnet.cut.dataflow import DataflowGraph
from dualnet.cut.inserted import places_of
from dualnet.cut.shapes import Built
from dualnet.errors import ConfigError

__all__ = ["LayerTimes", "measure_layers"]

#: Iterations before the measured ones: buffers are made, caches filled, algorithms chosen.
_WARM_UP = 2
#: Bytes of the array whose handling is timed; more than caches hold, as exchanged blobs are.
_TOUCHED_BYTES = 32 << 20
#: Trains a net until it is killed, and says when it has begun.
_COMPANION = """
import sys
from dualnet.backend import caffe
caffe.set_mode_cpu()
solver = caffe.get_solver(sys.argv[1])
solver.step(1)
print("begun", flush=True)
while True:
    solver.step(1)
"""


class LayerTimes(NamedTuple):
    """Medians over the measured iterations, in seconds, scaled to add up to a median iteration.

    Per-layer medians are robust on a busy machine: every iteration is delayed somewhere, but a
    given layer only in few iterations.

    Attributes:
        forward: A layer's number in the prototxt to the time of its forward pass, Split layers
            after it included.
        backward: The same of its backward pass.
        update: Of all weights.
        touch_per_byte: Seconds per byte of one elementwise pass over an array (y - gamma g).
        grown_bytes: By how much the process's resident set grew by the net and its training.
    """

    forward: dict[int, float]
    backward: dict[int, float]
    update: float
    touch_per_byte: float
    grown_bytes: int


def measure_layers(
    dataflow: DataflowGraph,
    built: Built,
    solver: Any,
    device: Union[str, int],
    given: Mapping[str, Sequence[int]],
    repeats: int,
    progress: Callable[[int, int], None],
    company: int = 0,
) -> LayerTimes:
    """Train the net for some iterations, one layer at a time.

    Args:
        dataflow: The net.
        built: Its blobs' shapes in phase TRAIN.
        solver: The SolverParameter whose update rule counts.
        device: `cpu`, or the number of a GPU.
        given: Blobs of data layers whose data is not here; they are fed with noise.
        repeats: Iterations to measure.
        progress: Called with (iterations done, iterations in all).
        company: How many other processes train the same net meanwhile. Pieces that share a machine
            share its memory's bandwidth and often a core's units, and each is slower than alone.
    """
    if device == "cpu":
        caffe.set_mode_cpu()
    else:
        caffe.set_device(int(device))
        caffe.set_mode_gpu()
    caffe.set_random_seed(1)
    before = _resident_bytes()
    with tempfile.TemporaryDirectory() as scratch:
        path = _write(dataflow, built, solver, device, given, scratch)
        built_solver = caffe.get_solver(path)
        with _in_company(path, company):
            return _measure(dataflow, built_solver, device, given, repeats, progress, before)


@contextmanager
def _in_company(path: str, count: int) -> Iterator[None]:
    """Let other processes train a solver's net as long as the context lasts."""
    search = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    others = [
        subprocess.Popen(
            [sys.executable, "-c", _COMPANION, path],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": search, "DUALNET_CAFFE": provider},
        )
        for _ in range(count)
    ]  # fmt: skip
    try:
        for other in others:
            if other.stdout is not None and not other.stdout.readline():
                raise ConfigError(
                    f"{path}: the net cannot be trained in {count + 1} processes at a time; plan "
                    "with --nodes separate"
                )
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()
            if other.stdout is not None:
                other.stdout.close()


def _measure(
    dataflow: DataflowGraph,
    built_solver: Any,
    device: Union[str, int],
    given: Mapping[str, Sequence[int]],
    repeats: int,
    progress: Callable[[int, int], None],
    before: int,
) -> LayerTimes:
    net = built_solver.net
    for blob in given:
        net.blobs[blob].data[...] = np.random.RandomState(1).randn(*net.blobs[blob].shape)
    used = dataflow.used["TRAIN"]
    owners = [used[place] for place in places_of(net)]
    clock = _clock(device)
    forward = [[0.0] * repeats for _ in owners]
    backward = [[0.0] * repeats for _ in owners]
    update = [0.0] * repeats
    for iteration in range(_WARM_UP + repeats):
        slot = max(0, iteration - _WARM_UP)
        for i in range(len(owners)):
            forward[i][slot] = _timed(clock, net._forward, i)
        for i in reversed(range(len(owners))):
            backward[i][slot] = _timed(clock, net._backward, i)
        started_s = clock()
        built_solver.apply_update()
        net.clear_param_diffs()
        update[slot] = clock() - started_s
        progress(iteration + 1, _WARM_UP + repeats)
    grown = max(0, _resident_bytes() - before)
    series = [*forward, *backward, update]
    scale = median(map(sum, zip(*series))) / max(sum(map(median, series)), 1e-9)
    return LayerTimes(
        _per_owner(owners, forward, scale), _per_owner(owners, backward, scale),
        median(update) * scale, _touch(), grown,
    )  # fmt: skip


def _resident_bytes() -> int:
    """Memory of this process, by Linux's count."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _clock(device: Union[str, int]) -> Callable[[], float]:
    """Seconds, read after the GPU's work is done.

    pycaffe's Timer waits for it. On the CPU BVLC's counts whole milliseconds (util/benchmark.cpp).
    """
    if device == "cpu":
        return time.perf_counter

    def read() -> float:
        timer = caffe.Timer()
        timer.start()
        timer.stop()
        float(timer.ms)  # BVLC's waits here
        return time.perf_counter()

    return read


def _timed(clock: Callable[[], float], work: Callable[[int, int], Any], index: int) -> float:
    started_s = clock()
    work(index, index)
    return clock() - started_s


def _per_owner(owners: list[int], times: list[list[float]], scale: float) -> dict[int, float]:
    total = dict.fromkeys(owners, 0.0)
    for owner, series in zip(owners, times):
        total[owner] += median(series) * scale
    return total


def _touch() -> float:
    """Seconds a byte for y - gamma g."""
    y = np.ones(_TOUCHED_BYTES // 4, np.float32)
    g = np.ones_like(y)
    seconds = []
    for _ in range(5):
        started_s = time.perf_counter()
        y - np.float32(1e3) * g
        seconds.append(time.perf_counter() - started_s)
    return median(seconds) / _TOUCHED_BYTES


def _write(
    dataflow: DataflowGraph,
    built: Built,
    solver: Any,
    device: Union[str, int],
    given: Mapping[str, Sequence[int]],
    scratch: str,
) -> str:
    """The net in phase TRAIN and a solver without tests, snapshots and displays; its path."""
    net = caffe_pb2.NetParameter(name=dataflow.net.name)
    for number in dataflow.used["TRAIN"]:
        layer = net.layer.add()
        layer.CopyFrom(dataflow.layers[number])
        layer.ClearField("include")
        layer.ClearField("exclude")
        locate_files(layer, dataflow.path)
        if any(top in given for top in layer.top):
            name, tops = layer.name, list(layer.top)
            layer.Clear()
            layer.name, layer.type = name, "Input"
            layer.top.extend(tops)
            for top in tops:
                layer.input_param.shape.add(dim=built.blobs[top])
    chosen = caffe_pb2.SolverParameter()
    chosen.CopyFrom(solver)
    for field, _ in solver.ListFields():
        if field.name.startswith(("test_", "train_", "snapshot", "net", "display", "debug")):
            chosen.ClearField(field.name)
    chosen.net = os.path.join(scratch, "net.prototxt")
    chosen.max_iter = 2**31 - 1  # policies that end there keep their rate
    on_gpu = device != "cpu"
    chosen.solver_mode = caffe_pb2.SolverParameter.SolverMode.Value("GPU" if on_gpu else "CPU")
    chosen.device_id = int(device) if on_gpu else 0
    path = os.path.join(scratch, "solver.prototxt")
    for message, where in ((net, chosen.net), (chosen, path)):
        with open(where, "w", encoding="utf-8") as file:
            file.write(text_format.MessageToString(message))
    return path
