"""The last test of a log, however long the log is and however it ends."""

from __future__ import annotations

import pytest

from dualnet.report.accuracy import accuracy_name, last_test
from dualnet.report.log import CaffeLog


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["loss", "accuracy", "top5_acc"], "accuracy"),
        (["top5_acc", "accuracy"], "accuracy"),
        (["loss", "Accuracy5"], "Accuracy5"),
        (["loss"], None),
        ([], None),
    ],
)
def test_which_output_it_is(names, expected):
    assert accuracy_name(names) == expected


def test_the_last_one_is_found_before_many_other_lines(tmp_path):
    path = tmp_path / "net2.log"
    with CaffeLog(path) as log:
        for iteration, accuracy in ((0, 0.1), (100, 0.75)):
            log.testing(iteration, {"accuracy": accuracy, "loss": 1.0}, {"loss": 1.0})
        for k in range(3000):
            log.training(100 + k, 0.5, {"loss": 0.5}, 0.01)
    assert path.stat().st_size > 1 << 19
    assert last_test(str(path)) == (0.75, 100)


def test_a_test_that_is_being_written_is_passed_over(tmp_path):
    path = tmp_path / "net2.log"
    with CaffeLog(path) as log:
        log.testing(0, {"loss": 1.0, "accuracy": 0.25})
        whole = path.read_text()
        log.testing(100, {"accuracy": 0.5})
    text = path.read_text()
    for end in range(len(whole), text.index("0.5", len(whole))):
        path.write_text(text[:end])
        assert last_test(str(path)) == (0.25, 0)


def test_where_there_is_none(tmp_path):
    assert last_test(str(tmp_path / "absent.log")) is None
    assert last_test(str(tmp_path)) is None
    (tmp_path / "net1.log").write_bytes(b"\xff\0] Iteration 3, Testing net (#0)\n" * 9)
    assert last_test(str(tmp_path / "net1.log")) is None
