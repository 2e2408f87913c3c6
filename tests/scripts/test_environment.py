"""environment.sh: .venv is made once, kept while the requirements are, and never half-trusted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.scripts.shell import program, run

# Stands in for the Python that .venv is made from, and, copied by its own `-m venv`, for the one in
# it. Each call is noted; pip fails where the test asks for it.
_PYTHON = """
case "$*" in
  --version) echo "Python 3.11.0" ;;
  "-m venv --clear "*)
    echo venv >>"$CALLS"; rm -rf "${!#}"; mkdir -p "${!#}/bin"; cp "$0" "${!#}/bin/python" ;;
  *"pip install"*" -r "*) echo "install ${!#}" >>"$CALLS"; exit "${PIP_EXIT:-0}" ;;
  *"pip install"*) echo "editable" >>"$CALLS" ;;
esac
"""


@pytest.fixture
def tree(repository: Path, tmp_path: Path) -> Path:
    """A repository with the real environment.sh and a script that uses it."""
    root = tmp_path / "my repository"
    (root / "scripts").mkdir(parents=True)
    for name in ("environment.sh", "python.sh"):
        shutil.copy(repository / "scripts" / name, root / "scripts")
    shutil.copytree(repository / "requirements", root / "requirements")
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(repository / name, root)
    program(
        root / "scripts/use.sh",
        'set -euo pipefail\n. "$(dirname "$0")/environment.sh"\n'
        'use_environment "$1"\necho "=$python"\n',
    )
    program(root / "base python", _PYTHON)
    return root


def _use(tree: Path, level: str, **variables: str):
    calls = tree / "calls"
    calls.write_text("", encoding="utf-8")
    variables = {"PYTHON": str(tree / "base python"), "CALLS": str(calls), **variables}
    return run(tree / "scripts/use.sh", level, **variables)


def _calls(tree: Path) -> list[str]:
    lines = (tree / "calls").read_text(encoding="utf-8").splitlines()
    return [line.replace(f"{tree}/requirements/", "") for line in lines]


def test_the_first_use_makes_it_and_the_second_keeps_it(tree: Path) -> None:
    first = _use(tree, "test")
    assert first.returncode == 0, first.stderr
    assert _calls(tree) == ["venv", "install test.txt", "editable"]
    assert first.stdout.splitlines()[-1] == f"={tree}/.venv/bin/python"
    again = _use(tree, "test")
    assert _calls(tree) == []
    assert again.stdout == f"={tree}/.venv/bin/python\n"


def test_a_higher_level_includes_the_lower_ones(tree: Path) -> None:
    _use(tree, "dev")
    for level in ("test", "quickstart"):
        assert _use(tree, level).returncode == 0
        assert _calls(tree) == []


def test_a_lower_level_does_not_stand_for_a_higher_one(tree: Path) -> None:
    _use(tree, "quickstart")
    _use(tree, "test")
    assert _calls(tree) == ["install test.txt", "editable"]


def test_changed_requirements_are_installed_into_the_same_environment(tree: Path) -> None:
    _use(tree, "test")
    with (tree / "requirements/pins.txt").open("a", encoding="utf-8") as stream:
        stream.write("another==1\n")
    _use(tree, "test")
    assert _calls(tree) == ["install test.txt", "editable"]


def test_a_failed_installation_is_not_taken_for_a_whole_one(tree: Path) -> None:
    failed = _use(tree, "test", PIP_EXIT="1")
    assert failed.returncode == 2 and "requirements/test.txt" in failed.stderr
    _use(tree, "test")
    assert _calls(tree) == ["install test.txt", "editable"]


def test_an_environment_without_pip_is_made_anew(tree: Path) -> None:
    # What an interrupted `python -m venv` leaves.
    program(tree / ".venv/bin/python", '[ "$*" != "-m pip --version" ]\n')
    assert _use(tree, "test").returncode == 0
    assert _calls(tree) == ["venv", "install test.txt", "editable"]


def test_a_python_of_the_user_s_is_used_as_it_is(tree: Path) -> None:
    mine = program(tree / "mine", "exit 0\n")
    done = _use(tree, "test", DUALNET_PYTHON=str(mine))
    assert done.stdout == f"={mine}\n" and _calls(tree) == []
    assert not (tree / ".venv").exists()


def test_the_environment_may_live_elsewhere(tree: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "else where"
    done = _use(tree, "test", DUALNET_VENV=str(elsewhere))
    assert done.stdout.splitlines()[-1] == f"={elsewhere}/bin/python"


def test_an_old_or_missing_python_or_venv_is_explained(tree: Path) -> None:
    missing = _use(tree, "test", PYTHON="no-such-python")
    assert missing.returncode == 2 and "'no-such-python'" in missing.stderr
    old = program(tree / "old", '[ "$1" = --version ] && echo "Python 3.6.9"; [ "$1" != -c ]\n')
    done = _use(tree, "test", PYTHON=str(old))
    assert done.returncode == 2 and "Python 3.6.9 is too old" in done.stderr
    body = 'case "$*" in *ensurepip*) exit 1 ;; esac\n'
    done = _use(tree, "test", PYTHON=str(program(tree / "bare", body)))
    assert done.returncode == 2 and "apt-get install python3-venv" in done.stderr
