"""Starts runner.py in BVLC Caffe's interpreter."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

__all__ = ["run_jobs"]

RUNNER = Path(__file__).with_name("runner.py")


def run_jobs(python: str, folder: Path, jobs: list[dict]) -> None:
    """Runs jobs in one BVLC process, whose results are then in the folder; see runner.py.

    Args:
        python: the interpreter.
        folder: holds the jobs' arrays.
        jobs: what to run.
    """
    (folder / "jobs.json").write_text(json.dumps(jobs))
    # One thread each: nets this small lose more than they gain by more.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [python, str(RUNNER), str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]
