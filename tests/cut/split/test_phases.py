"""Blobs that cross the cut in one phase alone."""

from __future__ import annotations

import pytest

from dualnet import config
from dualnet.rundir import RunDir
from dualnet.training.outcome.merge import merge
from tests.cut.both import train_pieces
from tests.cut.singles import cut_in_two
from tests.cut.split.topologies import OTHER_TRUTH, UNLABELLED

pytestmark = [
    pytest.mark.usefixtures("workdir"),
    pytest.mark.filterwarnings("error"),
]
SETTINGS = (
    "train.max_iter=2",
    "train.snapshot=2",
    "train.test_interval=1",
    "train.test_iter=1",
    "train.display=1",
)


@pytest.mark.parametrize("text", [UNLABELLED, OTHER_TRUTH], ids=["training", "tests"])
def test_pieces_are_tested_and_merged(text):
    """`merge` compares the outputs of the merged net with those of the pieces."""
    yaml, _, _ = cut_in_two("nets", text, "conv1", "conv2")
    train_pieces(yaml, "run", *SETTINGS)
    merge(RunDir("run"), config.load(yaml), "whole.caffemodel")


def test_what_tests_alone_have_arrives():
    yaml, _, remarks = cut_in_two("nets", OTHER_TRUTH, "conv1", "conv2")
    assert not any("leave out" in remark for remark in remarks)
    train_pieces(yaml, "run", *SETTINGS)
    with open("run/net2.log", encoding="utf-8") as file:
        lines = [line for line in file if "Test net output" in line]
    accuracies = [line.split("accuracy = ")[1] for line in lines if "accuracy" in line]
    assert accuracies == [line.split("as_usual = ")[1] for line in lines if "as_usual" in line]
    assert len(accuracies) >= 2 and float(max(accuracies)) > 0
    with open("run/net1.log", encoding="utf-8") as file:
        outputs = [line for line in file if "net output" in line]
    assert outputs and not any("truth" in line for line in outputs)
