"""The comparison of two checkouts: its rules are valid, and it does not take failures for equal."""

from __future__ import annotations

import argparse

import pytest

from dualnet import config
from scripts import compare_digests
from scripts.compare_digests import ROOT, RULES, Row, both_failed, table, train, verdict

A, B = "a" * 64, "b" * 64


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_valid(rule):
    for name in ("digits", "cifar10"):
        config.load(str(ROOT / "configs" / f"{name}.yaml"), RULES[rule])


def test_verdicts():
    assert verdict(Row("c", "tcp", A, A)) == "equal"
    assert verdict(Row("c", "tcp", A, B)) == f"{A} before, {B} now"
    one = Row("c", "tcp", A, "exit code 2: dualnet: no")
    assert not both_failed(one) and "exit code 2" in verdict(one)
    neither = Row("c", "tcp", "exit code 2: x", "exit code 2: y")
    assert both_failed(neither) and verdict(neither) == "refused by both (exit code 2: y)"
    assert "| c | tcp | `aaaaaaaaaaaaaaaa…`, equal |" in table([Row("c", "tcp", A, A)], 5)


def test_the_exit_code_tells_a_difference(monkeypatch, capsys):
    monkeypatch.setattr(
        "sys.argv", ["compare_digests", "/before", "--only", "tcp", "--config", "c"]
    )
    for other, code in ((A, 0), (B, 1)):
        monkeypatch.setattr(
            compare_digests, "train",
            lambda folder, *case, other=other: other if str(folder) == "/before" else A,
        )  # fmt: skip
        assert compare_digests.main() == code
    assert "2 of 2 equal" in capsys.readouterr().out


def test_a_training_gives_its_digest_or_its_error(workdir, monkeypatch):
    """A checkout with everything, and one that lacks the config."""
    options = argparse.Namespace(provider="engine", after=workdir, iterations=2)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (workdir / "dualnet").symlink_to(ROOT / "dualnet")
    found = train(workdir, "configs/digits.yaml", "single", options)
    assert len(found) == 64 and set(found) <= set("0123456789abcdef")
    assert train(workdir, "configs/none.yaml", "single", options).startswith(
        "exit code 2: dualnet: configs/none.yaml: cannot read the config"
    )
