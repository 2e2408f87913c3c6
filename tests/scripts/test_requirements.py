"""The requirement files, their pins and setup.py agree."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

packaging_requirements = pytest.importorskip("packaging.requirements")
Requirement = packaging_requirements.Requirement

PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13")


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


def test_setup_asks_for_the_base_libraries_and_the_pins_satisfy_it(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setuptools = pytest.importorskip("setuptools")
    arguments: dict = {}
    monkeypatch.setattr(setuptools, "setup", arguments.update)
    monkeypatch.chdir(repository)
    _load(repository / "setup.py")
    wanted = [Requirement(line) for line in arguments["install_requires"]]
    base = {_normal(name) for name in _lines(repository / "requirements/base.txt")}
    assert {_normal(requirement.name) for requirement in wanted} == base
    for extra in arguments["extras_require"].values():
        wanted += [Requirement(line) for line in extra]
    for python in PYTHONS:
        pinned = _pinned(repository, python)
        for requirement in wanted:
            if _is_for(requirement, python):
                assert requirement.specifier.contains(pinned[_normal(requirement.name)]), python
    assert "dualnet.engine.proto" in arguments["packages"]
    assert arguments["entry_points"]["console_scripts"] == ["dualnet = dualnet.__main__:main"]


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
