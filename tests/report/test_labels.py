"""Labels say what sets runs apart, and nothing else."""

from __future__ import annotations

import pytest

from dualnet.config import from_dict
from dualnet.report.labels import in_common, tell_apart
from dualnet.report.log import CaffeLog
from dualnet.report.runs import read_runs


@pytest.fixture
def label(tmp_path):
    """Labels, and what is common, of runs by name: their configs, and whether they are uncut."""

    def make(**configs):
        for name, config in configs.items():
            directory = tmp_path / name
            directory.mkdir()
            pieces = [] if config is None else from_dict(config).names
            names = ["single"] if name.startswith("single") else [*pieces] or ["net1", "net2"]
            for piece in names:
                with CaffeLog(directory / f"{piece}.log") as log:
                    log.training(0, 1.0, {})
            if config is not None:
                (directory / "config.yaml").write_text(from_dict(config).to_yaml())
        runs = read_runs([tmp_path / name for name in configs])
        return tell_apart(runs), in_common(runs)

    return make


THREE = {f"net{k}": {"solver": "solver.prototxt"} for k in (1, 2, 3)}
DIGITS = {"name": "digits"}


def test_one_run_is_called_by_its_name(label):
    labels, common = label(a=DIGITS)
    assert labels == ["a"]
    assert common == "digits, 2 pieces, target gradient, tie start, alternating"


def test_what_differs_is_said_and_what_does_not_stands_above(label):
    rule = {"target": "activation", "tie": "never", "loss": "euclidean"}
    labels, common = label(a=DIGITS, b={**DIGITS, "coupling": rule})
    assert labels == [
        "a, target gradient, tie start", "b, target activation, loss euclidean, tie never"
    ]  # fmt: skip
    assert common == "digits, 2 pieces, alternating"


def test_the_single_net_has_no_target(label):
    labels, common = label(two=DIGITS, single=DIGITS, control=None)
    assert labels == ["two, 2 pieces", "single", "control"]  # it says so itself
    assert common == "digits, target gradient, tie start, alternating"


def test_pieces_schedules_and_data_sets(label):
    labels, _ = label(
        a={**DIGITS, **THREE, "cut1": {}, "cut2": {"target": "prox"}},
        b={"name": "cifar10", "train": {"schedule": "pipelined", "micro_batches": 4}},
        c={"name": "cifar10", "train": {"schedule": "overlapped", "staleness": 2}},
    )
    assert labels == [
        "a, digits, 3 pieces, target gradient / prox, alternating",
        "b, cifar10, 2 pieces, target gradient, pipelined in 4",
        "c, cifar10, 2 pieces, target gradient, overlapped by 2",
    ]


def test_settings(label):
    labels, _ = label(
        a={"seed": 1},
        b={"seed": 2, "train": {"batch_size": 8, "local_steps": 2},
           "coupling": {"tie": "every"}, "exchange": {"dtype": "int8"},
           "update": {"rule": "manual", "learning_rate": 0.01}},
    )  # fmt: skip
    assert labels == [
        "a, tie start, seed 1",
        "b, tie every, 2 local steps, int8, batches of 8, learning rate 0.01, update manual, "
        "seed 2",
    ]
