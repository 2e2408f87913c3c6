"""The files beside the code: found in a checkout and in an installed package alike."""

from __future__ import annotations

import shutil

import pytest

from dualnet import shipped as module
from dualnet.errors import DualnetError
from dualnet.shipped import FOLDER, shipped, shipped_files


@pytest.fixture
def installed(tmp_path, monkeypatch, repository):
    """A package with its files inside, as a wheel has them, and no repository around it."""
    package = tmp_path / "site-packages" / "dualnet"
    shutil.copytree(repository / "configs", package / FOLDER / "configs")
    monkeypatch.setattr(module, "_PACKAGE", package)
    return package / FOLDER


def test_in_a_checkout_they_are_the_repository_s(repository):
    assert shipped("configs/digits.yaml") == repository / "configs/digits.yaml"
    assert shipped("prototxt") == repository / "prototxt"


def test_in_an_installed_package_they_are_inside(installed):
    assert shipped("configs/digits.yaml") == installed / "configs/digits.yaml"
    assert "configs/experiments/rules.yaml" in shipped_files()
    assert shipped_files("prototxt") == []


def test_all_configurations_prototxt_and_scripts_of_users_are_shipped(repository):
    for folder, suffix in (("configs", ".yaml"), ("prototxt", ".prototxt")):
        there = {path.relative_to(repository).as_posix()
                 for path in (repository / folder).rglob(f"*{suffix}")}  # fmt: skip
        assert there <= set(shipped_files(folder)) and there
    scripts = set(shipped_files("scripts"))
    assert {"scripts/run_net.sh", "scripts/python.sh", "scripts/slurm/nodes.sbatch"} <= scripts
    assert not {"scripts/test.sh", "scripts/environment.sh"} & scripts
    assert set(shipped_files()) == {
        name for folder in ("configs", "prototxt", "scripts") for name in shipped_files(folder)
    }


def test_an_incomplete_installation_is_told(installed):
    with pytest.raises(DualnetError, match="prototxt: not there.*install dualnet again"):
        shipped("prototxt")
