"""build_docs.sh: what it asks Sphinx for, and which folder it may replace."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scripts.shell import program, run


@pytest.fixture
def python(tmp_path: Path) -> str:
    """A stand-in for Python that notes how it was called, and leaves a site of one page."""
    body = 'echo "$*" >"$CALLS"\nfor site; do :; done\nmkdir "$site"\n'
    body += 'touch "$site/index.html" "$site/.buildinfo"\nexit "${SPHINX_EXIT:-0}"\n'
    return str(program(tmp_path / "python", body))


def _build(repository: Path, python: str, site: Path, **variables: str):
    calls = site.parent / "calls"
    script = repository / "scripts/build_docs.sh"
    done = run(script, str(site), DUALNET_PYTHON=python, CALLS=str(calls), **variables)
    return done, calls.read_text(encoding="utf-8") if calls.exists() else ""


def test_warnings_are_errors(repository: Path, python: str, tmp_path: Path) -> None:
    done, call = _build(repository, python, tmp_path / "new site")
    assert done.returncode == 0 and "Built 1 pages" in done.stdout
    assert call.startswith("-m sphinx -b html") and " -n -W --keep-going " in call
    done, _ = _build(repository, python, tmp_path / "new site", SPHINX_EXIT="1")
    assert done.returncode == 1


def test_pages_of_an_earlier_site_do_not_stay(
    repository: Path, python: str, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    _build(repository, python, site)
    (site / "old.html").touch()
    done, _ = _build(repository, python, site)
    assert done.returncode == 0 and not (site / "old.html").exists()


def test_a_folder_that_is_no_site_is_kept(repository: Path, python: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").touch()
    done, call = _build(repository, python, mine)
    assert done.returncode == 2 and "is there and no site" in done.stderr
    assert (mine / "thesis.tex").exists() and call == ""
