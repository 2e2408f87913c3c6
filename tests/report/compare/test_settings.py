"""Settings of a run as they were effective, and those in which runs differ."""

from __future__ import annotations

import json

import pytest

from dualnet.config import from_dict
from dualnet.report.compare.settings import differing, settings_of, short_names
from dualnet.report.lives import Life
from dualnet.rundir import RunDir


@pytest.fixture
def settings(tmp_path):
    """Gives the settings of a run: config keys, pieces, each piece's facts, its life's facts."""
    made = iter(range(100))

    def make(raw, names=("net1", "net2"), inputs=None, facts=None):
        run = RunDir(str(tmp_path / f"run{next(made)}"))
        pieces = [run.piece(name) for name in names]
        (tmp_path / run.path).mkdir()
        for piece in pieces:
            if inputs is not None:
                with open(piece.inputs, "w") as file:
                    json.dump({"facts": inputs.get(piece.name, {})}, file)
        lives = {name: [Life(1, "2026-11-28T02:17:32+00:00", facts=one)]
                 for name, one in (facts or {}).items()}  # fmt: skip
        config = None if raw is None else from_dict(raw)
        return settings_of(config, pieces, lives)

    return make


def test_only_what_differs_is_named(settings):
    one = settings({"coupling": {"target": "prox"}, "train": {"max_iter": 9, "display": 3}})
    two = settings({"train": {"schedule": "overlapped", "max_iter": 5}})
    keys = differing([one, two])
    assert keys == ["train.schedule", "coupling.target"]
    assert [one[key] for key in keys] == ["alternating", "prox"]
    assert differing([one, one]) == [] == differing([one]) == differing([])
    assert short_names([*keys, "a.rule", "b.rule", "seed"]) == {
        "train.schedule": "schedule", "coupling.target": "target",
        "a.rule": "a.rule", "b.rule": "b.rule", "seed": "seed",
    }  # fmt: skip


def test_the_single_net_has_no_coupling_to_differ_in(settings):
    chain, single = settings({}), settings({}, ["single"], inputs={"single": {}})
    assert differing([chain, single]) == ["pieces"]
    assert "coupling.target" in chain and "coupling.target" not in single


def test_what_is_not_set_differs_from_what_is(settings):
    """In a config, where None is a value, and in a solver, where what is not said has a default."""
    one = settings({"convergence": {"residual": 0.5}}, inputs={"net2": {"solver momentum": "0.9"}})
    two = settings({}, inputs={"net2": {"solver base_lr": "0.1"}})
    assert differing([one, two]) == ["convergence.residual", "solver.momentum", "solver.base_lr"]
    # Of a run without a record of its solvers nothing is known.
    assert differing([one, settings({})]) == ["convergence.residual"]


def test_a_cut_is_one_setting_and_its_own_rules_are_others(settings):
    cuts = [{"blobs": ["pool1"], "dual": {"conv2": "conv2p"}},
            {"blobs": ["pool2"], "dual": {"conv3": "conv3p"}, "target": "prox"}]  # fmt: skip
    found = settings({"pieces": [{}, {}, {}], "cuts": cuts}, ["net1", "net2", "net3"])
    assert found["cut"] == "pool1:conv2 + pool2:conv3" and found["pieces"] == "3"
    assert {key for key in found if key.startswith("cut")} == {"cut", "cut2.target"}


def test_the_solver_as_used_says_what_the_prototxt_does(settings):
    def with_rate(key, rate, momentum="0.9"):
        solver = {"solver base_lr": rate, "solver lr_policy": '"poly"', "layer 1 x": "3"}
        inputs = {"net1": {**solver, "solver momentum": "0.9"},
                  "net2": {**solver, "solver momentum": momentum, "threads": "2"}}  # fmt: skip
        return settings({"update": {"learning_rate": key}}, inputs=inputs)

    one, two = with_rate(0.25, "0.25"), with_rate(None, "0.25")
    assert differing([one, two]) == []
    assert one["solver.lr_policy"] == "poly" and one["threads"] == "2"
    assert one["solver.momentum"] == "0.9"
    three = with_rate(None, "0.5", momentum="0.95")
    keys = differing([two, three])
    assert [three[key] for key in keys] == ["0.5", "0.9/0.95"]
    assert short_names(keys) == {"solver.base_lr": "base_lr", "solver.momentum": "momentum"}
    # Without the record of the inputs the config's key is what is known.
    assert settings({"update": {"learning_rate": 0.25}})["update.learning_rate"] == "0.25"


def test_micro_batches_are_not_told_twice(settings):
    def parts(micro_batches, iter_size):
        raw = {"train": {"micro_batches": micro_batches}}
        return settings(raw, ["single"], {"single": {"solver iter_size": iter_size}})

    assert differing([parts(1, "1"), parts(4, "4")]) == ["train.micro_batches"]
    assert parts(4, "8")["solver.iter_size"] == "2" == parts(1, "2")["solver.iter_size"]


def test_the_machine_and_the_data_are_from_the_record(settings):
    data = [{"path": "mean", "for": "layer 0 transform_param.mean_file", "holds": "SHA-256 00"},
            {"path": "d/train", "for": "layer 0 data_param.source",
             "holds": "9 records, SHA-256 of some 0123456789abcdef0123456789abcdef"}]  # fmt: skip
    facts = {"net1": {"data": data, "device": 1},
             "net2": {"samples_per_iteration": 8, "device": 0}}  # fmt: skip
    found = settings({}, facts=facts)
    assert (found["device"], found["batch"], found["data"]) == ("0", "8", "d/train@01234567")
    assert settings(None, facts={"net1": {"data": [{"for": "source", "path": "x"}]}})["data"] == "x"


def test_texts():
    from dualnet.report.compare.settings import _text

    values = [None, True, 1e-05, 3.0, {"a": "b", "c": "d"}, ["x", "y"], "z", 0]
    assert list(map(_text, values)) == ["", "true", "1e-05", "3", "a:b, c:d", "x, y", "z", "0"]
