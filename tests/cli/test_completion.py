"""What shells are told on the Tab key."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dualnet.cli import main
from dualnet.cli.completion import setting_completer


def test_keys_and_their_words():
    assert setting_completer("train.sch") == [
        "train.schedule=", "train.schedule=alternating", "train.schedule=overlapped",
        "train.schedule=pipelined",
    ]  # fmt: skip
    assert "net1.device=" in setting_completer("net1.")
    assert "cut.target=prox" in setting_completer("cut.")
    every = setting_completer("")
    assert len(every) == len(set(every)) and "pieces=" not in every and "train=" not in every


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_code_for_a_shell(capsys, shell):
    pytest.importorskip("argcomplete")
    assert main(["completion", shell]) == 0
    assert "dualnet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("dualnet st", "status"),
        ("dualnet train configs/digits.yaml --re", "--restarts"),
        ("dualnet train configs/digits.yaml --set coupling.target=ad", "coupling.target=admm"),
    ],
)
def test_a_shell_s_question_is_answered(repository, tmp_path, line, wanted):
    pytest.importorskip("argcomplete")
    answer = tmp_path / "answer"
    environment = {
        **os.environ, "_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)),
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "_ARGCOMPLETE_COMP_WORDBREAKS": " ",
        "PYTHONPATH": str(repository), "_ARGCOMPLETE_IFS": "\n",
    }  # fmt: skip
    subprocess.run([sys.executable, "-m", "dualnet"], env=environment, check=True, timeout=60)
    assert wanted in answer.read_text(encoding="utf-8").split()
