"""Fixtures: a working directory as a user has one, and the command that runs in it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dualnet.data.sets.prepare import prepare


@pytest.fixture(scope="session")
def digits_directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("digits") / "digits"
    prepare("digits", out=directory)
    return directory


@pytest.fixture
def workdir(tmp_path, monkeypatch, repository, digits_directory):
    """Changes into a directory with `configs`, `prototxt` and `data/digits`."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "digits").symlink_to(digits_directory)
    for name in ("configs", "prototxt"):
        (tmp_path / name).symlink_to(repository / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def dualnet(repository, workdir, monkeypatch):
    """Runs the command as its users do, in a process of its own."""
    monkeypatch.setenv("PYTHONPATH", str(repository), prepend=":")
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")

    def run(*arguments, python=None, env=None, timeout_s=300):
        return subprocess.run(
            [python or sys.executable, "-m", "dualnet", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd=str(workdir),
            env={**os.environ, **(env or {})},
        )

    return run
