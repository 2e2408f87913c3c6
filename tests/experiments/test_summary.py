"""What a run came to, read from made-up logs."""

from __future__ import annotations

import pytest

from dualnet.experiments.plan import Experiment, Variant
from dualnet.experiments.runner import Outcome
from dualnet.experiments.summary import measure, to_csv, to_markdown
from dualnet.report.log import CaffeLog
from dualnet.rundir import RunDir

EXPERIMENT = Experiment(
    "small", "A title", "A question?", "c.yaml", [], [1], [Variant("run")], [], ["net1:norm"], {},
    None,
)  # fmt: skip
LINE = (
    "Exchange{}: per iteration, tests included: {} bytes sent ({} in float32), {} received ({} in "
    "float32)"
)


def write_log(folder, name, *lines):
    with CaffeLog(folder / f"{name}.log") as log:
        log.solving(name)
        for iteration in range(20):
            log.training(iteration, 2.0 - iteration / 20, {"norm": 3.0})
        log.testing(20, {"accuracy": 0.75, "loss": 1.5})
        for link, sent, received in lines:
            log.info(LINE.format(link, sent, 4 * sent, received, received))


def measured(folder):
    return measure(EXPERIMENT, Outcome(EXPERIMENT.variants[0], 1, RunDir(str(folder))))


def test_bytes_are_added_up_over_the_links_of_a_chain(tmp_path):
    below, above = " over net1-net2", " over net2-net3"
    write_log(tmp_path, "net1", (below, 5, 5), (below, 2**20, 2**19))  # started twice
    write_log(tmp_path, "net2", (below, 2**19, 2**20), (above, 2**21, 2**18))
    write_log(tmp_path, "net3", (above, 2**18, 2**21))
    row = measured(tmp_path)
    assert (row.mib_up, row.mib_down) == (3.0, 0.75)
    assert (row.iterations, row.accuracy, row.test_loss) == (19, 0.75, 1.5)
    assert row.train_loss == pytest.approx(1.075) and row.extra == {"net1:norm": 3.0}
    assert "| run | 0.7500 | 1.5 | 1.08 | 3.00/0.75 |" in to_markdown(EXPERIMENT, [row], "it")
    assert to_csv(EXPERIMENT, [row]).splitlines()[1].startswith("run,1,,19,0.75,1.5,1.075,3,0.75,")


def test_logs_of_earlier_versions_and_single_nets(tmp_path):
    write_log(tmp_path, "net1", ("", 2**20, 2**19))
    write_log(tmp_path, "net2", ("", 2**19, 2**20))
    assert (measured(tmp_path).mib_up, measured(tmp_path).mib_down) == (1.0, 0.5)
    single = tmp_path / "single"
    single.mkdir()
    write_log(single, "single")
    assert measured(single).mib_up is None
