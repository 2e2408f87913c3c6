"""`dualnet new`, and the commands of a project, which need not be told its YAML or its run."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from dualnet.cli import main
from dualnet.data.sets import prepare as sets
from dualnet.project.examples import EXAMPLES

QUICK = ["--set", "train.max_iter=4", "--set", "train.test_interval=2", "--set", "train.display=1"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_data(monkeypatch):
    """As where scikit-learn is not installed."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "sklearn" else real(name)
    )


def test_the_list_has_every_example_and_the_command_for_its_data(folder, capsys):
    assert main(["new", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(EXAMPLES)
    assert lines[0].endswith("; data: dualnet data digits")
    assert list(folder.iterdir()) == []


def test_it_makes_the_digits_and_says_what_comes_next(folder, capsys):
    pytest.importorskip("sklearn")
    assert main(["new", "my net"]) == 0
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "wrote my net: .gitignore, README.md, dualnet.yaml, prototxt/, scripts/",
        "made the data set my net/data/digits",
        "next: cd 'my net' && dualnet train",
    ]
    assert sorted(os.listdir("my net/data/digits")) == sorted(sets.PARTS)


def test_without_scikit_learn_it_says_how_to_have_the_data(folder, no_data, capsys):
    assert main(["new", "my-net"]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == (
        'next: cd my-net && pip install "dualnet[digits]" && dualnet data digits && dualnet train'
    )
    assert not os.path.exists("my-net/data")


@pytest.mark.parametrize(
    ("example", "step"),
    [("cifar10", "dualnet data cifar10"), ("cats-dogs", "dualnet data cats-dogs --source FOLDER")],
)
def test_data_that_must_be_fetched_are_named(folder, capsys, example, step):
    assert main(["new", ".", "--example", example]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == f"next: {step} && dualnet train"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["new"], "new: name the folder of the project, as in dualnet new my-net"),
        (["new", "a", "--example", "b"],
         "--example b: there is none; choose one of digits, three, cifar10, cats-dogs, all"),
    ],
)  # fmt: skip
def test_what_it_cannot_do_is_one_line(folder, capsys, words, line):
    assert main(words) == 2
    assert capsys.readouterr().err == f"dualnet: {line}\n"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("words", [["train"], ["single"], ["draw", "-o", "nets.dot"]])
def test_without_a_config_or_a_project_it_says_what_is_expected(folder, capsys, words):
    assert main(words) == 2
    assert capsys.readouterr().err == (
        "dualnet: no CONFIG given, and no dualnet.yaml in this folder: name a run's YAML file, or "
        "go to a project, which dualnet new DIR makes\n"
    )


def test_without_a_run_the_commands_that_need_one_say_so(folder, capsys):
    for words in (["evaluate"], ["status"], ["plot", "-o", "a.png"]):
        assert main(words) == 2
        assert capsys.readouterr().err.startswith("dualnet: runs: no such directory")


@pytest.mark.parametrize("example", ["digits", "three"])
def test_a_project_trains_without_being_told_what(tmp_path, repository, digits_directory, example):
    """The two commands of a user, and what follows, in processes of their own."""
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_WAIT_POLICY": "PASSIVE"}

    def dualnet(*words, cwd):
        return subprocess.run(
            [sys.executable, "-m", "dualnet", *words], cwd=cwd, env=environment, text=True,
            capture_output=True, timeout=300,
        )  # fmt: skip

    done = dualnet("new", "my-net", "--example", example, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    project = tmp_path / "my-net"
    if not (project / "data").exists():
        (project / "data").mkdir()
        (project / "data/digits").symlink_to(digits_directory)
    done = dualnet("train", *QUICK, cwd=project)
    assert done.returncode == 0, done.stderr
    (run,) = (project / "runs").iterdir()
    assert run.name.startswith("my-net-")
    done = dualnet("evaluate", cwd=project)
    assert json.loads(done.stdout)["samples"] == 360
    assert f"runs/{run.name} is the latest run" in done.stderr
    done = dualnet("plot", "-o", "losses.png", cwd=project)
    assert done.returncode == 0 and (project / "losses.png").is_file()
    done = dualnet("single", "--run-dir", "runs/single", *QUICK, cwd=project)
    assert done.returncode == 0, done.stderr
    assert dualnet("evaluate", cwd=project).stderr.startswith("runs/single is the latest run")


@pytest.mark.parametrize("example", ["digits", "cifar10", "cats-dogs"])
def test_train_names_the_command_for_missing_data(folder, no_data, capsys, monkeypatch, example):
    monkeypatch.setattr(os, "environ", os.environ.copy())
    assert main(["new", ".", "--example", example]) == 0
    capsys.readouterr()
    for words in (["train"], ["net1", "dualnet.yaml", "--run-dir", "r"], ["single"]):
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"layer data: its source 'data/{example}/train_lmdb' is not here" in line
        command = {"cats-dogs": "dualnet data cats-dogs --source FOLDER"}
        assert f"make it with: {command.get(example, f'dualnet data {example}')}" in line
    assert not os.path.exists("runs") and not os.path.exists("r")
