"""The command that makes a data set which is not there."""

from __future__ import annotations

import pytest

from dualnet.cli.data import SETS
from dualnet.data.recipes import COMMANDS, command_for


def test_every_data_set_has_a_command():
    assert list(COMMANDS) == list(SETS)


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("data/digits/train_lmdb", "dualnet data digits"),
        ("./data/cifar10/mean.binaryproto", "dualnet data cifar10"),
        ("data/cats-dogs/test_lmdb", "dualnet data cats-dogs --source FOLDER"),
        ("../data/digits/train_lmdb", "dualnet data digits -o ../data/digits"),
        ("/my sets/digits/test_lmdb", "dualnet data digits -o '/my sets/digits'"),
        ("data/flowers/train_lmdb", "dualnet data images FOLDER -o data/flowers"),
        ("examples/mnist/mnist_train_lmdb", ""),
        ("train_lmdb", ""),
        ("", ""),
    ],
)
def test_command(path, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command_for(path) == command


def test_the_default_place_by_its_whole_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command_for(f"{tmp_path}/data/digits/train_lmdb") == "dualnet data digits"
