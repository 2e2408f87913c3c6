"""Hints for what people type at first."""

from __future__ import annotations

import pytest

from dualnet.cli import main


def said(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("setting", ["train.max_iter=5", "seed=2", "cut2.target=prox"])
def test_a_setting_without_its_option(capsys, setting):
    line = said(capsys, "train", "configs/digits.yaml", setting)
    assert line == (
        f"dualnet: error: unrecognized arguments: {setting}; a key of the config is set by --set "
        f"{setting}"
    )


def test_other_words_get_no_hint(capsys):
    assert "--set" not in said(capsys, "train", "configs/digits.yaml", "other.yaml")
    assert "--set" not in said(capsys, "train", "configs/digits.yaml", "--lr=5")


def test_help_shows_no_internal_option(capsys):
    for words in (["train"], ["net"], ["single"], ["init"]):
        with pytest.raises(SystemExit):
            main([*words, "--help"])
        assert "stop-at-eof" not in capsys.readouterr().out
