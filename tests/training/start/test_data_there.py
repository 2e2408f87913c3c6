"""Missing data are told before anything is written, with the command that makes them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from dualnet.errors import ConfigError
from dualnet.rundir import RunDir
from dualnet.training.net.resolve import resolve
from dualnet.training.start.claim import claim
from dualnet.training.start.data_there import require_data
from tests.training.pieces import load


@pytest.fixture
def data(workdir):
    """The digits, of which a test may take parts away."""
    place = workdir / "data" / "digits"
    there = place.resolve()
    place.unlink()
    shutil.copytree(there, place)
    return place


def resolved(piece, *overrides):
    return resolve(load(*overrides), RunDir("run").piece(piece))


@pytest.mark.parametrize("piece", ["net1", "single"])
@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("train_lmdb", "its source 'data/digits/train_lmdb'"),
        ("test_lmdb", "its source 'data/digits/test_lmdb'"),
        ("mean.binaryproto", "its mean_file 'data/digits/mean.binaryproto'"),
    ],
)
def test_what_is_missing_and_how_it_is_made(data, piece, part, said):
    (data / part).rename(data / "elsewhere")
    expected = f"prototxt/digits/{piece}_train_test.prototxt: layer data: {said} is not here"
    with pytest.raises(ConfigError) as caught:
        require_data(resolved(piece))
    assert str(caught.value).startswith(expected)
    assert str(caught.value).endswith("; make it with: dualnet data digits")


def test_a_claim_leaves_nothing_without_data(data):
    shutil.rmtree(data)
    with pytest.raises(ConfigError, match="dualnet data digits"):
        claim(load(), resolved("net1"))
    assert not os.path.exists("run")


def test_a_piece_without_data_layers_needs_none(data):
    shutil.rmtree(data)
    require_data(resolved("net2"))


def test_a_net_that_is_not_tested_needs_no_test_data(data):
    (data / "test_lmdb").rename(data / "elsewhere")
    found = resolved("net1")
    found.solver.ClearField("test_iter")
    require_data(found)


def test_other_data_are_to_be_made_or_the_path_corrected(data):
    found = resolved("net1")
    found.train.layers[1].data_param.source = "lmdb/mine"
    with pytest.raises(
        ConfigError, match="'lmdb/mine' is not here.*; make it, or correct the path"
    ):
        require_data(found)
    assert Path("data/digits").is_dir()
