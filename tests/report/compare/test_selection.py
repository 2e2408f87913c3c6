"""Which runs are shown, and in which order."""

from __future__ import annotations

import pytest

from dualnet.errors import UsageError
from dualnet.report.compare.listing import Listed
from dualnet.report.compare.selection import select

A = Listed("a", 2, "complete", accuracy=0.5, best_accuracy=0.9, loss=1.0, time_s=9.0,
           settings={"coupling.target": "prox", "solver.base_lr": "0.1"})  # fmt: skip
B = Listed("b", 1, "running", accuracy=0.7, best_accuracy=0.7, loss=float("nan"), time_s=2.0,
           settings={"solver.base_lr": "0.02"})  # fmt: skip
C = Listed("c", 2, "net2 dead", accuracy=0.6, best_accuracy=0.6, loss=0.5, iteration=4,
           settings={"coupling.target": "gradient", "solver.base_lr": "1e-3"})  # fmt: skip
ALL = [A, B, C]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("", "abc"), ("run", "abc"), ("best", "acb"), ("accuracy", "cab"), ("loss", "cab"),
        ("time", "bac"), ("iteration", "cab"), ("state", "acb"), ("base_lr", "cba"),
        ("solver.base_lr", "cba"), ("target", "cab"), ("speed", "abc"), ("began", "abc"),
    ],
)  # fmt: skip
def test_order(sort, order):
    """The best first; what is not known, or of a run that has diverged, last."""
    assert "".join(one.run_dir for one in select(ALL, sort=sort)) == order


def test_the_other_way_round_what_is_unknown_stays_last():
    assert select(ALL, sort="time", is_reversed=True) == [A, B, C]
    assert select(ALL, sort="base_lr", is_reversed=True) == [A, B, C]
    assert select(ALL, is_reversed=True) == [C, B, A]


def test_conditions():
    assert select(ALL, ["target=prox"]) == [A]
    assert select(ALL, ["coupling.target="]) == [B]
    assert select(ALL, ["state=net2 dead", "base_lr=1e-3"]) == [C]
    with pytest.raises(UsageError, match="no run has that; of those left it is not set$"):
        select(ALL, ["state=running", "target=prox"])
    with pytest.raises(
        UsageError, match="--where target=updated: .* it is gradient, not set, prox$"
    ):
        select(ALL, ["target=updated"])


def test_a_setting_that_no_run_has_is_an_error():
    with pytest.raises(UsageError, match="--sort momentum: no run has this .*best.*solver.base_lr"):
        select(ALL, sort="momentum")
    with pytest.raises(UsageError, match=r"--sort speeed: .*did you mean speed\?"):
        select(ALL, sort="speeed")
    with pytest.raises(UsageError, match="--where momentum: no run"):
        select(ALL, ["momentum=0.9"])
    with pytest.raises(UsageError, match="expected KEY=VALUE"):
        select(ALL, ["momentum"])
