"""The pieces compare what they have: each mismatch is named with both values and the remedy."""

from __future__ import annotations

import copy
import json

import pytest

from dualnet.config import above, below, fixed_values
from dualnet.errors import ManifestMismatch
from dualnet.training.start.handshake import check, describe
from tests.training.pieces import load, make_nets, make_session


def describe_piece(name, *overrides):
    nets = make_nets(name, "run", *overrides)
    session = make_session(nets)
    session.log.close()
    (end,) = nets.resolved.ends
    return describe(nets, session, end)


@pytest.fixture
def hellos(workdir):
    settings = ("train.test_interval=2", "train.batch_size=8")
    return {name: describe_piece(name, *settings) for name in ("net1", "net2")}


def test_matching_pieces_agree_from_either_side(hellos):
    check(hellos["net1"], hellos["net2"], above(load(), "net1"))
    check(hellos["net2"], hellos["net1"], below(load(), "net2"))


def test_description_is_small_json_of_real_shapes(hellos):
    for hello in hellos.values():
        text = json.dumps(hello)
        assert len(text) < 16 * 1024
        assert json.loads(text) == hello
    net1 = hellos["net1"]
    assert net1["cut"] == {"TRAIN": {"pool2": [8, 32, 2, 2]}, "TEST": {"pool2": [60, 32, 2, 2]}}
    assert net1["labels"] == {"TRAIN": {"label": [8]}, "TEST": {"label": [60]}}
    assert net1["compared"] == net1["targets"] == {"conv3p": [8, 32, 2, 2]}
    assert net1["parameters"] == [[32, 32, 3, 3], [32]]


def test_test_phase_is_left_out_where_nothing_is_tested(workdir):
    (workdir / "solver.prototxt").write_text(
        'net: "prototxt/digits/net1_train_test.prototxt" max_iter: 5 base_lr: 1 lr_policy: "fixed"'
    )
    hello = describe_piece("net1", "net1.solver=solver.prototxt")
    assert list(hello["cut"]) == ["TRAIN"] and hello["test_iter"] == 0


DUAL_REMEDY = "the dual layers must be the same but for their names"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"config": {**fixed_values(load(), True), "coupling.gamma": 7.0}},
            ["coupling.gamma: 1000.0 in net1, 7.0 in net2", "the same CONFIG and --set"],
        ),
        ({"max_iter": 7}, ["max_iter: 3 in net1, 7 in net2", "train.max_iter"]),
        ({"test_iter": 7}, ["test_iter: 6 in net1, 7 in net2", "train.test_iter"]),
        ({"test_interval": 7}, ["test_interval: 2 in net1, 7 in net2", "train.test_interval"]),
        ({"test_initialization": False}, ["test_initialization: True in net1, False in net2"]),
        (
            {"cut": {"TRAIN": {"pool2": [8, 32, 3, 2]}, "TEST": {"pool2": [60, 32, 2, 2]}}},
            ["pool2 in phase TRAIN: [8, 32, 2, 2] in net1, [8, 32, 3, 2] in net2",
             "correct the layer that feeds pool2 in prototxt/digits/net2_train_test.prototxt"],
        ),
        (
            {"cut": {"TRAIN": {"pool2": [8, 32, 2, 2]}, "TEST": {"pool2": [50, 32, 2, 2]}}},
            ["pool2 in phase TEST: [60, 32, 2, 2] in net1, [50, 32, 2, 2] in net2"],
        ),
        (
            {"labels": {"TRAIN": {"label": [9]}, "TEST": {"label": [60]}}},
            ["labels in phase TRAIN: [8] in net1, [9] in net2", "correct the batch size"],
        ),
        (
            {"compared": {"conv3p": [8, 16, 2, 2]}},
            ["conv3 and conv3p: [8, 32, 2, 2] in net1, [8, 16, 2, 2] in net2",
             "what is compared must be the same but for its name"],
        ),
        (
            {"targets": {"conv3p": [8, 16, 2, 2]}},
            ["input conv3p of net1's loss: [8, 32, 2, 2] in net1, [8, 16, 2, 2] in net2",
             "correct the layer that feeds conv3p in prototxt/digits/net1_train_test.prototxt"],
        ),
        (
            {"parameters": [[32, 32, 5, 5], [32]]},
            ["parameters of conv3 and conv3p: [[32, 32, 3, 3], [32]] in net1",
             "[[32, 32, 5, 5], [32]] in net2", DUAL_REMEDY],
        ),
    ],
)  # fmt: skip
def test_each_mismatch_is_named_from_either_side(hellos, change, expected):
    other = {**copy.deepcopy(hellos["net2"]), **change}
    messages = set()
    for mine, theirs in ((hellos["net1"], other), (other, hellos["net1"])):
        end = above(load(), "net1") if mine is hellos["net1"] else below(load(), "net2")
        with pytest.raises(ManifestMismatch) as caught:
            check(mine, theirs, end)
        messages.add(str(caught.value))
    (message,) = messages
    assert message.startswith("net1 and net2 do not match")
    for part in expected:
        assert part in message


def test_all_mismatches_are_listed_at_once(hellos):
    other = {**hellos["net2"], "max_iter": 7, "test_iter": 9}
    with pytest.raises(
        ManifestMismatch, match=r"in 2 ways:\n  max_iter: 3 in net1.*\n  test_iter: 6 in net1"
    ):
        check(hellos["net1"], other, above(load(), "net1"))


def test_pieces_may_run_on_different_providers(hellos):
    check(hellos["net1"], {**hellos["net2"], "provider": "other"}, above(load(), "net1"))


def test_sizes_that_change_need_not_agree_but_axes_and_channels(hellos):
    one = {**hellos["net1"], "sizes_change": True}
    other = copy.deepcopy(hellos["net2"])
    other["cut"]["TRAIN"]["pool2"] = [9, 32, 5, 2]
    other["labels"]["TRAIN"]["label"] = [9]
    other["compared"]["conv3p"] = other["targets"]["conv3p"] = [9, 32, 5, 2]
    check({**one, "fixed": []}, {**other, "fixed": []}, above(load(), "net1"))
    for fixed in ({"net1": ["conv3p"], "net2": []}, {"net1": [], "net2": ["pool2", "label"]}):
        with pytest.raises(ManifestMismatch, match=r"9, 32, 5, 2"):
            mine, theirs = ({**hello, "fixed": fixed[hello["piece"]]} for hello in (one, other))
            check(mine, theirs, above(load(), "net1"))
    other["cut"]["TRAIN"]["pool2"] = [9, 16, 5, 2]
    with pytest.raises(ManifestMismatch, match="pool2 in phase TRAIN"):
        check({**one, "fixed": []}, {**other, "fixed": []}, above(load(), "net1"))
