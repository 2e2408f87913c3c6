"""The requirement files, their pins and pyproject.toml agree."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

packaging_requirements = pytest.importorskip("packaging.requirements")
Requirement = packaging_requirements.Requirement

PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _lines(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and line[0] not in "#-"]


def _pinned(repository: Path, python: str) -> dict[str, str]:
    """What the constraint file fixes for one Python."""
    pinned: dict[str, str] = {}
    for line in _lines(repository / "requirements/pins.txt"):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"python_version": python}):
            (specifier,) = requirement.specifier
            assert specifier.operator == "==" and requirement.name not in pinned, line
            pinned[requirement.name] = specifier.version
    return pinned


def _is_for(requirement: Requirement, python: str) -> bool:
    marker = requirement.marker
    return marker is None or bool(marker.evaluate({"python_version": python}))


@pytest.mark.parametrize("python", PYTHONS)
def test_every_named_package_is_pinned_for_every_python(python: str, repository: Path) -> None:
    pinned = _pinned(repository, python)
    for path in sorted((repository / "requirements").glob("*.txt")):
        if path.name != "pins.txt":
            named = [Requirement(line) for line in _lines(path)]
            wanted = [requirement.name for requirement in named if _is_for(requirement, python)]
            missing = [name for name in wanted if _normal(name) not in pinned]
            assert missing == [], path.name


def test_torch_is_the_release_that_results_are_measured_with(repository: Path) -> None:
    assert _pinned(repository, "3.9")["torch"] == "2.8.0"
    assert {_pinned(repository, python)["torch"] for python in PYTHONS[1:]} == {"2.13.0"}


def _project(repository: Path) -> dict:
    """What pyproject.toml says of dualnet."""
    toml = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    return toml.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_package_asks_for_the_base_libraries_and_the_pins_satisfy_it(repository: Path) -> None:
    project = _project(repository)
    wanted = [Requirement(line) for line in project["dependencies"]]
    base = {_normal(name) for name in _lines(repository / "requirements/base.txt")}
    assert {_normal(requirement.name) for requirement in wanted} == base
    for extra in project["optional-dependencies"].values():
        wanted += [Requirement(line) for line in extra]
    for python in PYTHONS:
        pinned = _pinned(repository, python)
        for requirement in wanted:
            if _is_for(requirement, python):
                assert requirement.specifier.contains(pinned[_normal(requirement.name)]), python


def test_what_pip_is_told_of_the_package(repository: Path) -> None:
    project = _project(repository)
    assert project["scripts"] == {"dualnet": "dualnet.__main__:main"}
    assert (project["license"], project["license-files"]) == ("MIT", ["LICENSE"])
    assert (repository / project["readme"]).is_file()
    prefix = "Programming Language :: Python :: "
    versions = [line[len(prefix) :] for line in project["classifiers"] if line.startswith(prefix)]
    assert tuple(versions) == PYTHONS


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem + "_under_test", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_merging_keeps_each_python_s_version_and_no_more_lines_than_needed(
    repository: Path,
) -> None:
    merge = _load(repository / "scripts/pin_requirements.py").merge
    resolved = {
        "3.9": {"same": "1", "older": "1", "gone": "5"},
        "3.10": {"same": "1", "older": "2", "new": "7", "odd": "1"},
        "3.11": {"same": "1", "older": "2", "new": "7"},
    }
    assert merge(resolved) == [
        'gone==5 ; python_version < "3.10"',
        'new==7 ; python_version >= "3.10"',
        'odd==1 ; python_version >= "3.10" and python_version < "3.11"',
        'older==1 ; python_version < "3.10"',
        'older==2 ; python_version >= "3.10"',
        "same==1",
    ]
