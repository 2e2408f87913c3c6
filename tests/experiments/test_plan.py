"""Experiments' files: all that ship are sound, and each mistake in one is named."""

from __future__ import annotations

import pytest

from dualnet import config
from dualnet.errors import ConfigError, UsageError
from dualnet.experiments.plan import load_experiment, names
from dualnet.experiments.runner import run_all


@pytest.mark.parametrize("is_short", [False, True])
@pytest.mark.parametrize("name", names())
def test_shipped_experiments_are_sound(name, is_short):
    experiment = load_experiment(name, is_short)
    assert experiment.question and experiment.title
    for variant in experiment.variants:
        overrides = [*experiment.overrides, *variant.overrides, "seed=1"]
        loaded = config.load(experiment.config, overrides)
        assert loaded.train.max_iter
    if is_short and experiment.variants:
        assert "digits" in experiment.config and experiment.seeds == [1]


GOOD = "title: t\nquestion: q\nconfig: c.yaml\nruns: {a: {}}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("runs: [", ["cannot be read"]),
        ("- a", ["expected keys and values, found list"]),
        (GOOD + "colour: red", ["unknown key colour", "valid keys", "title"]),
        (GOOD.replace("title: t", "title: [1]"), ["title: expected str, found list"]),
        (GOOD.replace("title: t\n", ""), ["title: expected str, found NoneType"]),
        (GOOD.replace("{a: {}}", "{}"), ["runs: empty"]),
        (GOOD.replace("{a: {}}", "{a: {sets: []}}"), ["unknown key runs.a.sets", "command, set"]),
        (GOOD.replace("{a: {}}", "{a: {command: net1}}"),
         ["runs.a.command: 'net1' is none of single, train"]),
        (GOOD + "seeds: []", ["seeds: [] is no list of whole numbers"]),
        (GOOD + "seeds: [a]", ["seeds: ['a']"]),
        (GOOD + "short: {runs: {}}", ["unknown key short.runs"]),
    ],
)  # fmt: skip
def test_mistakes_are_named(tmp_path, monkeypatch, text, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs" / "experiments").mkdir(parents=True)
    (tmp_path / "configs" / "experiments" / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_experiment("mine")
    message = str(caught.value)
    assert "mine.yaml" in message and "\n" not in message
    for part in expected:
        assert part in message


def test_unknown_experiment_lists_what_there_is():
    with pytest.raises(ConfigError, match="no experiment nosuch; there are admm, "):
        load_experiment("nosuch")


def test_short_version_adds_to_the_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs" / "experiments").mkdir(parents=True)
    (tmp_path / "configs" / "experiments" / "mine.yaml").write_text(
        GOOD + "set: [seed=2, train.max_iter=9]\nseeds: [1, 2]\n"
        "short: {config: d.yaml, set: [train.max_iter=3], seeds: [5]}\n"
    )
    whole, short = load_experiment("mine"), load_experiment("mine", is_short=True)
    assert (whole.config, whole.overrides, whole.seeds) == (
        "c.yaml", ["seed=2", "train.max_iter=9"], [1, 2],
    )  # fmt: skip
    assert (short.config, short.seeds) == ("d.yaml", [5])
    assert short.overrides == ["seed=2", "train.max_iter=9", "train.max_iter=3"]


def test_without_experiments_of_its_own_a_folder_has_the_shipped_ones(tmp_path, monkeypatch):
    shipped = names()
    monkeypatch.chdir(tmp_path)
    assert names() == shipped and "rules" in shipped
    experiment = load_experiment("collapse", is_short=True)
    with pytest.raises(
        UsageError, match=r"configs/digits.yaml: no such file here; .*--example all"
    ):
        run_all(experiment, "runs", print)
    (tmp_path / "configs" / "experiments").mkdir(parents=True)
    assert names() == []
