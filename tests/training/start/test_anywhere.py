"""A project is trained from any directory, and its run directory may be moved."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from dualnet import config as cfg

SHORT = ("--set", "train.max_iter=4", "--set", "train.snapshot=2", "--set", "train.test_iter=2",
         "--set", "train.test_interval=4")  # fmt: skip


@pytest.fixture
def elsewhere(workdir, tmp_path_factory, repository, monkeypatch):
    """A project with nothing but real files, and a working directory that is not in it."""
    project = tmp_path_factory.mktemp("project")
    shutil.copytree(repository / "prototxt/digits", project / "prototxt/digits")
    for name in ("configs", "data"):
        (project / name).mkdir()
    shutil.copy(repository / "configs/digits.yaml", project / "configs")
    (project / "data/digits").symlink_to(os.path.realpath(workdir / "data/digits"))
    for name in ("configs", "prototxt", "data/digits"):
        (workdir / name).unlink()
    return project


def test_from_another_directory_and_moved(dualnet, elsewhere, workdir):
    config = elsewhere / "configs/digits.yaml"
    done = dualnet("train", config, "--run-dir", "run", *SHORT)
    assert done.returncode == 0, done.stderr
    before = dualnet("evaluate", "run")
    assert before.returncode == 0, before.stderr

    moved = workdir / "far" / "away"
    moved.parent.mkdir()
    (workdir / "run").rename(moved)
    after = dualnet("evaluate", moved)
    assert json.loads(after.stdout) == json.loads(before.stdout), after.stderr
    merged = dualnet("merge", moved, "-o", "merged.caffemodel")
    assert merged.returncode == 0, merged.stderr
    longer = [*SHORT[:1], "train.max_iter=6", *SHORT[2:]]
    done = dualnet("train", config, "--run-dir", moved, *longer)
    assert done.returncode == 0, done.stderr
    assert (moved / "net2_iter_6.caffemodel").exists()


def test_a_run_names_its_files_absolutely(elsewhere, workdir, dualnet):
    config = elsewhere / "configs/digits.yaml"
    done = dualnet("single", config, "--run-dir", "run", *SHORT)
    assert done.returncode == 0, done.stderr
    left = cfg.load("run/config.yaml")
    assert left.single.solver == str(elsewhere / "prototxt/digits/single_solver.prototxt")
    net = (workdir / "run/single_train_test.prototxt").read_text()
    assert f'source: "{elsewhere}/data/digits/train_lmdb"' in net


def test_data_that_is_not_here_is_said_with_the_places(elsewhere, dualnet, workdir):
    (elsewhere / "data/digits").unlink()
    done = dualnet("train", elsewhere / "configs/digits.yaml", "--run-dir", "run")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    net = elsewhere / "prototxt/digits/net1_train_test.prototxt"
    assert f"{net}: layer data: its source 'data/digits/train_lmdb' is not here" in line
    assert f"in the working directory {workdir} and in the folders above {net.parent}" in line
    assert not os.path.exists("run")


def test_a_file_of_the_command_line_is_one_of_the_working_directory(elsewhere, workdir):
    for folder in (elsewhere / "configs", workdir):
        (folder / "solver.prototxt").write_text("")
    loaded = cfg.load(str(elsewhere / "configs/digits.yaml"), ["net1.solver=solver.prototxt"])
    assert loaded.piece("net1").solver == "solver.prototxt"
