"""Which logs a run has, which series they hold, and what the run is called."""

from __future__ import annotations

import pytest

from dualnet.config import from_dict
from dualnet.errors import UsageError
from dualnet.report.log import CaffeLog
from dualnet.report.runs import describe, read_runs
from tests.report.test_parse import BVLC_LOG


def test_pieces_and_losses(make_run):
    run, single = read_runs([make_run("dual", scale=3.0), make_run("one", pieces=["single"])])
    assert list(run.logs) == ["net1", "net2"] and list(single.logs) == ["single"]
    assert run.coupling_loss("net1")[1][0] == 3.0 and run.classification_loss()[1][0] == 6.0
    assert single.coupling_loss("net1")[1].size == 0
    iterations, values = single.classification_loss()
    assert iterations.tolist() == list(range(40)) and values[0] == 2.0
    iterations, values = run.accuracy()
    assert iterations.tolist() == [0, 10, 20, 30]
    assert values.tolist() == [0.5, 0.916667, 0.954545, 0.96875]


def test_series_by_name_piece_and_phase(make_run):
    (run,) = read_runs([make_run("dual")])
    assert run.names() == [
        "net1:loss", "net1:norm", "net2:loss", "net2:norm", "net2:test:accuracy", "net2:test:loss",
    ]  # fmt: skip
    for name in run.names():
        assert run.series(name)[1].size in (40, 4)
    assert run.series("norm")[1].tolist() == run.series("net2:norm")[1].tolist()
    assert run.series("test:loss")[0].tolist() == [0, 10, 20, 30]
    for absent in ("nothing", "single:loss", "net1:test:loss", "log:loss"):
        assert run.series(absent)[1].size == 0


def test_a_plain_log_is_a_run(tmp_path):
    (run,) = read_runs([BVLC_LOG])
    assert run.label == "bvlc.log" and list(run.logs) == ["log"]
    assert run.classification_loss()[1][1] == 2.87337
    assert run.accuracy()[1][0] == 0.15
    assert run.series("log:test:accuracy")[1][0] == 0.15


def test_the_pieces_may_be_named_one_by_one(make_run):
    directory = make_run("dual")
    first, second = read_runs([directory / "net1.log", directory / "net2.log"])
    assert first.coupling_loss("net1")[1].size == second.classification_loss()[1].size == 40
    assert first.classification_loss()[1].size == second.coupling_loss("net1")[1].size == 0
    assert (first.label, second.label) == ("net1.log", "net2.log")


@pytest.mark.parametrize(
    ("coupling", "expected"),
    [
        ({"target": "gradient", "tie": "start"}, "target gradient, tie start"),
        (
            {"target": "activation", "loss": "normalized", "tie": "never"},
            "target activation, loss normalized, tie never",
        ),
    ],
)
def test_runs_are_named_by_their_coupling(coupling, expected, make_run):
    assert read_runs([make_run("run", coupling=coupling)])[0].label == expected
    assert (
        read_runs([make_run("one", pieces=["single"], coupling=coupling)])[0].label == "single net"
    )
    assert describe(from_dict({"coupling": coupling}), is_cut=True) == expected


def test_longer_chains_and_other_schedules_are_named():
    pieces = {f"net{n}": {"solver": "solver.prototxt"} for n in (1, 2, 3)}
    chain = {**pieces, "cut1": {}, "cut2": {"target": "prox"}, "coupling": {"target": "gradient"}}
    pipelined = {"schedule": "pipelined", "micro_batches": 4}
    label = describe(from_dict({**chain, "train": pipelined}), is_cut=True)
    assert label == (
        "3 pieces, target gradient, tie start / target prox, tie start, 4 micro-batches"
    )
    overlapped = from_dict({"train": {"schedule": "overlapped", "staleness": 2}})
    assert describe(overlapped, is_cut=True).endswith(", staleness 2")


def test_a_loss_that_only_came_down_is_no_coupling_loss(make_run):
    run = make_run("backprop", pieces=["net1", "net2"], diverges_at=30)
    text = (run / "net2.log").read_text()
    (run / "net1.log").write_text(text.replace("Test net", ""))
    assert read_runs([run])[0].coupling_loss("net1")[1].size == 0
    with CaffeLog(run / "net1.log") as log:
        log.training(10, 0.5, {"loss": 0.5})
    assert read_runs([run])[0].coupling_loss("net1")[1].size == 40


def test_equal_names_are_told_apart(make_run):
    coupling = {"target": "gradient"}
    paths = [make_run(name, coupling=coupling) for name in ("a/run", "b/run", "b/other")]
    labels = [run.label for run in read_runs(paths)]
    assert labels == [
        f"target gradient, tie start ({name})" for name in ("a/run", "b/run", "b/other")
    ]
    logs = [run.label for run in read_runs([paths[0] / "net1.log", paths[1] / "net1.log"])]
    assert logs == ["a/run/net1.log", "b/run/net1.log"]
    assert len({run.label for run in read_runs([paths[0], paths[0]])}) == 1


def test_without_a_readable_config_the_directory_names_the_run(make_run):
    path = make_run("plain")
    assert read_runs([path])[0].label == "plain"
    (path / "config.yaml").write_text("key_of_another_version: 1")
    assert read_runs([path])[0].label == "plain"


def test_an_accuracy_of_another_name(tmp_path):
    with CaffeLog(tmp_path / "single.log") as log:
        log.testing(0, {"Accuracy5": 0.75, "loss": 1.0})
    (run,) = read_runs([tmp_path])
    assert run.accuracy()[1].tolist() == [0.75]
    assert run.classification_loss()[1].size == 0


def test_what_holds_no_log_is_named(tmp_path):
    with pytest.raises(UsageError, match="there is no .*absent: give run directories or log files"):
        read_runs([tmp_path / "absent"])
    with pytest.raises(
        UsageError, match="holds no log: expected one of net1.log, net2.log, single"
    ):
        read_runs([tmp_path])
    (tmp_path / "net1.log").mkdir()
    with pytest.raises(UsageError, match="holds no log"):
        read_runs([tmp_path])


def test_a_chain_has_a_coupling_loss_for_each_piece_but_the_last(make_run):
    names = [f"net{n}" for n in range(1, 12)]
    (run,) = read_runs([make_run("chain", pieces=names)])
    assert list(run.logs) == names and run.last == "net11" and run.coupled() == names[:-1]
    assert run.coupling_loss("net10")[1].size == run.classification_loss()[1].size == 40
    assert run.coupling_loss("net11")[1].size == run.coupling_loss("single")[1].size == 0
    assert run.accuracy()[0].size and run.series("net11:test:loss")[0].size


def test_a_chain_is_as_long_as_its_config_says(make_run):
    """Over tcp each piece may have a directory, and a log, of its own."""
    directory = make_run("middle", pieces=["net2"])
    pieces = {name: {"solver": f"{name}.prototxt"} for name in ("net1", "net2", "net3")}
    config = from_dict({**pieces, "cut1": {}, "cut2": {}})
    (directory / "config.yaml").write_text(config.to_yaml())
    (run,) = read_runs([directory])
    assert run.coupled() == ["net2"] and run.classification_loss()[1].size == 0
