#!/usr/bin/env python3
"""Feed the engine damaged prototxt, caffemodel, solverstate and mean files.

    scripts/fuzz_engine.py --inputs 100000 [--first 0] [--targets net,caffemodel] [--memory-gib 8]

Only CaffeError may come out; any other exception, a crash of the process, an input that takes more
than --timeout-s, and memory beyond the limit are bugs. Input i is the same each time, so one is
repeated by `--first i --inputs 1`. Exit code 1 if there was a bug.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

os.environ["GLOG_minloglevel"] = "3"  # noqa: SIM112 (glog's own name)
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.engine.differential.targets import TARGETS, content_of, feed


def main() -> int:
    """Runs all inputs in a process that is replaced when it dies."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--timeout-s", type=float, default=60)
    parser.add_argument("--memory-gib", type=float, default=8)
    parser.add_argument("--keep", type=Path, help="where to keep inputs that found a bug")
    options = parser.parse_args()
    targets = options.targets.split(",")
    end, started = options.first + options.inputs, time.monotonic()
    context = multiprocessing.get_context("spawn")
    accepted, refused = context.Value("q", 0), context.Value("q", 0)
    at, bugs = context.Value("q", options.first), context.Queue()
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        while at.value < end:
            arguments = (name, targets, at, end, accepted, refused, bugs, options.memory_gib)
            worker = context.Process(target=_work, args=arguments, daemon=True)
            worker.start()
            watch, ended = _Watch(options.timeout_s), ""
            while not ended:
                while not bugs.empty():  # also while it runs: a full queue would stop it
                    _note(*bugs.get(), found, options.keep)
                ended = watch.check(worker, at)
            while not bugs.empty():
                _note(*bugs.get(), found, options.keep)
            if at.value < end:
                target = targets[at.value % len(targets)]
                _note(at.value, target, ended, found, options.keep)
                at.value += 1
    total = options.inputs
    print(
        f"{total} inputs: {accepted.value} accepted, {refused.value} refused with CaffeError, "
        f"{sum(found.values())} bugs of {len(found)} kinds; {time.monotonic() - started:.0f} s"
    )
    return 1 if found else 0


class _Watch:
    """Monitors the worker: whether it is alive and makes progress."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._last, self._since, self._told = -1, 0.0, time.monotonic()
        self._started = time.monotonic()

    def check(self, worker: Any, at: Any) -> str:
        """Waits a second; returns why the worker ended, or nothing."""
        worker.join(1)
        if not worker.is_alive():
            return f"crash: exit code {worker.exitcode}"
        now = time.monotonic()
        if at.value != self._last:
            self._last, self._since = at.value, now
        elif now - self._since > self._timeout_s:
            worker.kill()
            worker.join()
            return f"hang: more than {self._timeout_s:g} s"
        if now - self._told > 30:
            self._told = now
            print(f"input {self._last}, {now - self._started:.0f} s", flush=True)
        return ""


def _note(number: int, target: str, what: str, found: Counter[str], keep: Path | None) -> None:
    kind = what.splitlines()[-1][:160]
    found[kind] += 1
    if found[kind] <= 3:
        print(f"input {number} ({target}): {what}", flush=True)
        if keep:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{number}.{target}").write_bytes(content_of(number, target))


def _work(
    folder: str, targets: list[str], at: Any, end: int, accepted: Any, refused: Any, bugs: Any,
    memory_gib: float,
) -> None:  # fmt: skip
    import torch

    torch.set_num_threads(1)
    limit = int(memory_gib * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    os.chdir(folder)
    while at.value < end:
        number = at.value
        target = targets[number % len(targets)]
        try:
            fine = feed(content_of(number, target), target, Path(folder))
            (accepted if fine else refused).value += 1
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            inside = [f"{Path(f.filename).name}:{f.lineno}" for f in frames[-4:]]
            bugs.put((number, target, f"{' '.join(inside)} {type(error).__name__}: {error}"))
        at.value = number + 1


if __name__ == "__main__":
    sys.exit(main())
