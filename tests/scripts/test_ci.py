""".ci/run: all steps run, one failure fails the whole, an absent Caffe is said aloud."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.scripts.shell import program, run


@pytest.fixture
def tree(repository: Path, tmp_path: Path) -> Path:
    """A repository whose steps are stand-ins that note their call and end as the test says."""
    root = tmp_path / "repository"
    (root / ".ci").mkdir(parents=True)
    shutil.copy(repository / ".ci/run", root / ".ci/run")
    note = 'echo "{0} $* bvlc=${{DUALNET_BVLC_PYTHON:-}} caffe=${{DUALNET_CAFFE:-}}" >>"$CALLS"\n'
    for name in ("build_docs.sh", "test.sh", "check_wheel.sh", "install_caffe.sh"):
        stem = name[: -len(".sh")]
        program(root / "scripts" / name, note.format(stem) + f'exit "${{{stem}_exit:-0}}"\n')
    (root / "scripts/environment.sh").write_text("use_environment() { :; }\n", encoding="utf-8")
    for tool in ("ruff", "mypy", "lint-imports"):
        variable = tool.replace("-", "_") + "_exit"
        program(root / ".venv/bin" / tool, note.format(tool) + f'exit "${{{variable}:-0}}"\n')
    program(root / ".caffe/bin/python", note.format("caffe-python") + 'exit "${inside_exit:-0}"\n')
    program(tmp_path / "bin/shellcheck", note.format("shellcheck"))
    (root / "tests/data").mkdir(parents=True)
    return root


def _run(tree: Path, **variables: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    calls = tree.parent / "calls"
    calls.write_text("", encoding="utf-8")
    path = f"{tree.parent}/bin:/usr/bin:/bin"
    done = run(tree / ".ci/run", CALLS=str(calls), PATH=path, **variables)
    return done, calls.read_text(encoding="utf-8").splitlines()


def test_all_steps_run_in_order(tree: Path) -> None:
    # Whoever starts it may have chosen a provider; the steps choose their own.
    done, calls = _run(tree, DUALNET_CAFFE="bvlc", DUALNET_BVLC_PYTHON="/old")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [call.split()[0] for call in calls] == [
        "build_docs", "test", "ruff", "ruff", "mypy", "lint-imports", "shellcheck",
        "check_wheel", "install_caffe", "test", "caffe-python",
    ]  # fmt: skip
    assert calls[0] == "build_docs build/site bvlc= caffe="
    assert calls[1] == "test  bvlc= caffe="
    assert calls[-2] == f"test -m bvlc bvlc={tree}/.caffe/bin/python caffe="
    assert calls[-1] == "caffe-python -m pytest -q -m not bvlc tests/data bvlc= caffe=bvlc"
    assert "FAILED" not in done.stdout and "SKIPPED" not in done.stdout


@pytest.mark.parametrize(
    "variable",
    [
        "build_docs_exit",
        "test_exit",
        "ruff_exit",
        "mypy_exit",
        "lint_imports_exit",
        "check_wheel_exit",
        "inside_exit",
    ],
)
def test_one_failure_fails_the_whole_and_the_rest_still_runs(variable: str, tree: Path) -> None:
    done, calls = _run(tree, **{variable: "5"})
    assert done.returncode == 1
    assert len(calls) == 11
    assert "exit code 5" in done.stdout.split("result after")[1]


def test_an_absent_caffe_is_said_aloud_and_does_not_fail(tree: Path) -> None:
    done, calls = _run(tree, install_caffe_exit="69")
    assert done.returncode == 0
    assert calls[-1].startswith("install_caffe ")
    assert "!!!!!!!!" in done.stdout and "NOTHING WAS COMPARED" in done.stdout


def test_a_broken_installation_fails(tree: Path) -> None:
    done, _ = _run(tree, install_caffe_exit="2")
    assert done.returncode == 1
    assert "FAILED   real Caffe could not be installed" in done.stdout
