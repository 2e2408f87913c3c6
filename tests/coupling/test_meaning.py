"""What is said of a piece's loss, and that no reader of logs takes it for a number."""

from __future__ import annotations

import re

import pytest

from dualnet.config import from_dict
from dualnet.config.targets import TARGETS
from dualnet.coupling.meaning import meaning_of
from dualnet.report import parse


def chain(pieces=2, **cuts):
    """A config of so many pieces; keywords are cuts, or `coupling`."""
    nets = {f"net{k + 1}": {"solver": "solver.prototxt"} for k in range(pieces)}
    return from_dict({**nets, **cuts})


@pytest.mark.parametrize("piece", ["single", "net2"])
def test_the_last_piece_and_the_single_net_have_the_loss_that_counts(piece):
    found = meaning_of(chain(), piece)
    assert found.counts and found.last == piece
    assert found.sentence == ("The loss in this log is the one that counts, the loss on the labels")


def test_of_a_gradient_it_is_the_size():
    found = meaning_of(chain(coupling={"target": "gradient"}), "net1")
    assert found.sentence == (
        "The loss in this log is the size of the gradient from net2 (target gradient), and not "
        "meant to fall; the one that counts is net2's, on the labels"
    )
    assert not found.counts and not found.is_repeated
    assert found.kind == "size of the gradient from above"


@pytest.mark.parametrize(
    ("coupling", "name", "trend"),
    [
        ({"target": "prox"}, "size of the proximal step from net2", "not meant to fall"),
        ({"target": "admm"}, "size of the first ADMM step from net2", "not meant to fall"),
        (
            {"target": "activation", "tie": "never"},
            "distance to outputs from net2",
            "falls as both agree, even on zeros",
        ),
        (
            {"target": "updated", "loss": "relative"},
            "relative distance to updated outputs from net2",
            "falls as both agree, even on zeros",
        ),
        (
            {"target": "activation", "tie": "never", "loss": "none"},
            "distance to outputs from net2",
            "without weight: this piece learns nothing",
        ),
    ],
)
def test_other_rules(coupling, name, trend):
    found = meaning_of(chain(coupling=coupling), "net1")
    assert (found.name, found.trend) == (name, trend)


@pytest.mark.parametrize("target", ["backprop", "frozen"])
def test_a_loss_that_comes_down_is_that_of_the_piece_above(target):
    rule = {"target": target, "tie": "start"}
    found = meaning_of(chain(3, cut1=rule, cut2=rule), "net1")
    assert found.is_repeated and found.name == "loss on the labels of net3"
    assert ("learns nothing" in found.trend) == (target == "frozen")
    mixed = meaning_of(chain(3, cut1={"target": "backprop"}, cut2={"target": "gradient"}), "net1")
    assert mixed.name == "size of the gradient from net3" and not mixed.is_repeated


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_no_reader_of_logs_takes_the_sentence_for_anything(target):
    rule = {"target": target, "tie": "start"} if target != "activation" else {"target": target}
    config = chain(coupling=rule)
    for piece in ("net1", "net2", "single"):
        line = f"I1128 02:23:30.000000  9521 run.py:8] {meaning_of(config, piece).sentence}"
        for pattern in (parse._ITERATION, parse._RESTART, parse._OUTPUT, parse._LOSS):
            assert pattern.search(line) is None
        # Caffe's tools/extra/parse_log.py and extract_seconds.py.
        for pattern in (r"Iteration (\d+)", r"net output #(\d+)", r"lr = ", "Solving"):
            assert re.search(pattern, line) is None
