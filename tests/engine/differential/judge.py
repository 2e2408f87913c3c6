"""The other end of server.py: BVLC Caffe as a judge that survives its own death."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Optional

import numpy as np

__all__ = ["Judge", "JudgeDied"]

SERVER = Path(__file__).with_name("server.py")


class JudgeDied(Exception):
    """BVLC Caffe aborted (the message is its last output) or did not answer in time."""


class Judge:
    """One BVLC process, started when first needed and again after each death.

    Args:
        python: the interpreter in which `import caffe` is BVLC Caffe.
        folder: where arrays travel.
        timeout_s: the longest that one net may take.
    """

    def __init__(self, python: str, folder: Path, timeout_s: float = 120.0) -> None:
        self._python, self._folder, self._timeout_s = python, folder, timeout_s
        self._process: Optional[subprocess.Popen[str]] = None
        self._errors = folder / "judge.err"

    def __enter__(self) -> Judge:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def run(self, job: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs one net.

        Args:
            job: see server.py, without "arrays" and "out".
            arrays: "data:BLOB" and "diff:BLOB".

        Returns:
            "data:BLOB", "diff:BLOB", "param:LAYER:INDEX" and "grad:LAYER:INDEX".

        Raises:
            JudgeDied: with what BVLC said last.
        """
        given, taken = self._folder / "given.npz", self._folder / "taken.npz"
        np.savez(given, **arrays)
        process = self._process or self._start()
        job = {**job, "arrays": str(given), "out": str(taken)}
        try:
            process.stdin.write(json.dumps(job) + "\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            ready, _, _ = select.select([process.stdout], [], [], self._timeout_s)
            answer = process.stdout.readline() if ready else "late"  # type: ignore[union-attr]
        except BrokenPipeError:
            answer = ""
        if answer != "done\n":
            self.close()
            words = self._errors.read_text(errors="replace").strip().splitlines()
            told = [line for line in words if re.match(r"F\d{4} |\w*Error", line)]
            late = f"no answer in {self._timeout_s:g} s" if answer == "late" else "aborted"
            raise JudgeDied(f"BVLC Caffe: {late}: {(told or words or ['no words'])[-1][-600:]}")
        with np.load(taken) as found:
            return {name: found[name] for name in found.files}

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> subprocess.Popen[str]:
        # One thread: nets this small lose more than they gain by more.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with open(self._errors, "w") as errors:
            self._process = subprocess.Popen(
                [self._python, str(SERVER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
            )
        return self._process
