"""Times training steps of several variants, each in a process of its own, and compares them.

The measurements are interleaved: variants train a short time each, in rotating order, so that
changes of the machine's load affect all alike. Ratios are taken within a round, so that a slow
round cancels out.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from dualnet.engine.bench.nets import Case, write_solver
from dualnet.engine.errors import CaffeError

__all__ = ["BenchError", "Variant", "ratios", "summary", "time_variants"]

_PACKAGE_ROOT = os.path.dirname(  # the folder that holds the package `dualnet`
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
)
WARM_UP_STEPS = 3


class BenchError(CaffeError):
    """A variant failed."""


class Variant:
    """A child process that trains.

    Args:
        name: `engine`, `plain`, `plain_tuned` (plain PyTorch that keeps freed memory as the
            engine does) or `bvlc`.
        python: its interpreter.
        chosen: the net.
        solver: the solver's prototxt.
        threads: how many it computes with.
        folder: for its log.
    """

    def __init__(
        self, name: str, python: str, chosen: Case, solver: str, threads: int, folder: str
    ) -> None:
        self.name = name
        self.rounds_s: list[list[float]] = []
        self.cpu_s: list[float] = []
        spec = {
            "variant": name, "net": chosen.name, "shape": [chosen.batch, *chosen.image],
            "classes": chosen.classes, "solver": solver,
        }  # fmt: skip
        self._log = os.path.join(folder, f"{name}.log")
        with open(self._log, "w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [python, "-m", "dualnet.engine.bench.child", json.dumps(spec)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                encoding="utf-8",
                env=_environment(threads),
            )
        self.version: str = self._reply()["ready"]
        self.step_s = statistics.median(self.ask(train=WARM_UP_STEPS)["step_s"])

    def ask(self, **request: Any) -> dict[str, Any]:
        """Sends a request and waits for the reply; see child.py."""
        stream = self._process.stdin
        if stream is None:
            raise BenchError(f"variant '{self.name}' has no input; start a new one")
        try:
            stream.write(json.dumps(request) + "\n")
            stream.flush()
        except BrokenPipeError:
            pass  # it has ended; the reply says why
        return self._reply()

    def measure(self, seconds: float) -> None:
        """Trains for about so long and notes each step's time."""
        reply = self.ask(train=max(1, round(seconds / self.step_s)))
        self.rounds_s.append(reply["step_s"])
        self.cpu_s += reply["cpu_s"]

    def close(self) -> None:
        """Ends the process."""
        try:
            self._process.communicate()
        except BrokenPipeError:
            pass  # it ended before it read the request

    def _reply(self) -> dict[str, Any]:
        stream = self._process.stdout
        line = stream.readline() if stream is not None else ""
        if not line:
            self.close()
            code = self._process.returncode
            with open(self._log, encoding="utf-8") as log:
                last = (log.read().strip().splitlines() or ["nothing on stderr"])[-1]
            raise BenchError(f"variant '{self.name}' ended with exit code {code}: {last}")
        reply: dict[str, Any] = json.loads(line)
        return reply


def time_variants(
    chosen: Case,
    bvlc_python: str | None,
    threads: int,
    repeats: int,
    seconds: float,
    layer_steps: int = 0,
) -> Iterator[dict[str, Any]]:
    """Times training steps of a net.

    Args:
        chosen: the net.
        bvlc_python: an interpreter with BVLC Caffe; None leaves it out.
        threads: for every variant.
        repeats: rounds; in each one every variant is measured once.
        seconds: about how long a measurement lasts; at least one step.
        layer_steps: time the layers one by one over so many steps; 0 does not.

    Yields:
        A record for each variant, one with the ratios, and one for each layer.

    Raises:
        BenchError: a variant failed.
    """
    pythons = dict.fromkeys(("engine", "plain", "plain_tuned"), sys.executable)
    if bvlc_python:
        pythons["bvlc"] = bvlc_python
    variants: list[Variant] = []
    with tempfile.TemporaryDirectory() as folder:
        solver = write_solver(chosen, folder)
        try:
            for name, python in pythons.items():
                variants.append(Variant(name, python, chosen, solver, threads, folder))
            for number in range(repeats):
                shift = number % len(variants)
                for variant in variants[shift:] + variants[:shift]:
                    variant.measure(seconds)
            records = {v.name: summary(v, v.ask(memory=True)["peak_mib"]) for v in variants}
            for record in records.values():
                yield {"net": chosen.name, "batch": chosen.batch, "threads": threads, **record}
            yield {"net": chosen.name, **ratios({v.name: v.rounds_s for v in variants}, records)}
            if layer_steps:
                # With the same malloc on both sides, so that the difference is the layers'.
                pair = [v for v in variants if v.name in ("engine", "plain_tuned")]
                for record in _layers(pair, layer_steps):
                    yield {"net": chosen.name, **record}
        finally:
            for variant in variants:
                variant.close()


def summary(variant: Variant, peak_mib: float) -> dict[str, Any]:
    """A variant's record: median and quartiles of its steps, and its memory."""
    steps = sorted(s for one in variant.rounds_s for s in one)
    quartiles = statistics.quantiles(steps, n=4) if len(steps) > 1 else steps * 3
    return {
        "contender": variant.name,  # the key in recorded results
        "version": variant.version,
        "steps": len(steps),
        "step_ms": round(statistics.median(steps) * 1e3, 2),
        "quartiles_ms": [round(q * 1e3, 2) for q in (quartiles[0], quartiles[2])],
        "cpu_ms": round(statistics.median(variant.cpu_s) * 1e3, 2),
        "peak_mib": round(peak_mib, 1),
    }


def ratios(
    rounds_s: dict[str, list[list[float]]], records: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Compares the engine with the others.

    Args:
        rounds_s: each variant's step times by round.
        records: their summaries.

    Returns:
        Medians over the rounds of the ratio of the round's medians, and the ratio of memory.
    """
    result: dict[str, Any] = {"contender": "ratios"}
    medians = {name: [statistics.median(one) for one in r] for name, r in rounds_s.items()}
    engine = medians["engine"]
    for name in ("plain", "plain_tuned"):
        over_plain = [e / p for e, p in zip(engine, medians[name])]
        result[f"engine_time_over_{name}"] = round(statistics.median(over_plain), 3)
        memory = records["engine"]["peak_mib"] / records[name]["peak_mib"]
        result[f"engine_memory_over_{name}"] = round(memory, 3)
    if "bvlc" in medians:
        over_engine = [b / e for b, e in zip(medians["bvlc"], engine)]
        result["bvlc_time_over_engine"] = round(statistics.median(over_engine), 2)
    return result


def _layers(pair: list[Variant], steps: int) -> Iterator[dict[str, Any]]:
    """Times single layers, a step of the one and a step of the other, again and again."""
    times: dict[str, dict[str, list[float]]] = {}
    for _ in range(steps):
        for variant in pair:
            for layer, (seconds,) in variant.ask(layers=1)["layers_s"].items():
                times.setdefault(layer, {}).setdefault(variant.name, []).append(seconds)
    for layer, by_name in times.items():
        medians = {f"{n}_ms": round(statistics.median(t) * 1e3, 3) for n, t in by_name.items()}
        yield {"layer": layer, **medians}


def _environment(threads: int) -> dict[str, str]:
    """The environment of a child: the number of threads is read when libraries are loaded."""
    path = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "PYTHONPATH": _PACKAGE_ROOT + (os.pathsep + path if path else ""),
        "GLOG_minloglevel": "2",
        **{f"{n}_NUM_THREADS": str(threads) for n in ("OMP", "MKL", "OPENBLAS")},
    }
