"""quickstart.sh: which commands it gives, in which order, and the summary that it leaves."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.scripts.shell import program, run

# Stands in for a Python with dualnet: notes the command, answers `evaluate`, runs inline scripts.
_PYTHON = """
[ "$1" = - ] && exec "$REAL_PYTHON" "$@"
[ "$1" = --version ] && { echo "Python 0"; exit; }
shift 2; echo "$*" >>"$CALLS"
case $1 in
  data) mkdir -p data/digits; touch data/digits/mean.binaryproto ;;
  train) mkdir -p "$4"; exit "${TRAIN_EXIT:-0}" ;;
  evaluate) echo '{"accuracy": 0.975, "loss": 0.25, "samples": 360}' ;;
esac
"""


@pytest.fixture
def tree(repository: Path, tmp_path: Path) -> Path:
    root = tmp_path / "my repository"
    (root / "scripts").mkdir(parents=True)
    for name in ("quickstart.sh", "environment.sh", "python.sh"):
        shutil.copy(repository / "scripts" / name, root / "scripts")
    program(root / "python", _PYTHON)
    return root


def _run(tree: Path, *arguments: str, **variables: str):
    calls = tree / "calls"
    calls.write_text("", encoding="utf-8")
    variables = {
        "DUALNET_PYTHON": str(tree / "python"),
        "CALLS": str(calls),
        "REAL_PYTHON": sys.executable,
        **variables,
    }
    done = run(tree / "scripts/quickstart.sh", *arguments, cwd=tree.parent, **variables)
    return done, calls.read_text(encoding="utf-8").splitlines()


def test_it_trains_evaluates_and_leaves_a_summary(tree: Path) -> None:
    done, calls = _run(tree, "--set", "train.max_iter=7")
    assert done.returncode == 0, done.stderr
    run_dir = calls[1].split()[3]
    assert run_dir.startswith("runs/quickstart-")
    assert calls == [
        "data digits --force",
        f"train configs/digits.yaml --run-dir {run_dir} --set train.max_iter=7",
        f"evaluate {run_dir}",
        f"plot {run_dir} -o results/quickstart/losses.png",
    ]
    summary = json.loads((tree / "results/quickstart/summary.json").read_text(encoding="utf-8"))
    assert summary["run_dir"] == run_dir
    assert (summary["accuracy"], summary["loss"], summary["samples"]) == (0.975, 0.25, 360)
    assert "test accuracy 0.9750" in done.stdout
    assert "results/quickstart/losses.png" in done.stdout


def test_data_that_is_there_is_kept(tree: Path) -> None:
    _run(tree)
    _, calls = _run(tree)
    assert calls[0].startswith("train ")


def test_a_failed_training_ends_it_with_its_exit_code(tree: Path) -> None:
    done, calls = _run(tree, TRAIN_EXIT="74")
    assert done.returncode == 74
    assert calls[-1].startswith("train ")
    assert not (tree / "results/quickstart/summary.json").exists()
