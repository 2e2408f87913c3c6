"""The reference pages that docs/generators makes from the code."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from typing import Optional, Union

import pytest

from tests.pages.code_blocks import ROOT

pytest.importorskip("sphinx", reason="Sphinx is not installed: requirements/docs.txt")


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))


def made(lines):
    return "\n".join(lines)


def test_an_option_has_its_meaning_its_choices_and_its_default():
    from generators.commands import describe

    parser = argparse.ArgumentParser(prog="tool")
    command = parser.add_subparsers().add_parser("go", description="go <there>", epilog="ex: go")
    command.add_argument("place", metavar="PLACE", help="where to")
    command.add_argument("--how", choices=("on foot", "by car"), metavar="HOW", help="how to go")
    command.add_argument("--far", type=int, default=3, help="how far")
    command.add_argument("-o", "--output", required=True, metavar="FILE", help="told (default: x)")
    command.add_argument("--hidden", help=argparse.SUPPRESS)
    text = made(describe(parser))
    assert "\n## tool go\n" in text and "Go \\<there\\>.\n" in text
    assert "```text\nusage: tool go" in text and "```text\nex: go" in text
    assert "````{option} PLACE\nWhere to.\n````" in text
    assert "````{option} --how HOW\nHow to go. One of on foot, by car.\n````" in text
    assert "````{option} --far FAR\nHow far. Default: 3.\n````" in text
    assert "{option} -o FILE, --output FILE\nTold (default: x). Required.\n````" in text
    assert "hidden" not in text.partition("```text")[2].partition("```")[2]


def test_commands_of_commands_are_one_heading_deeper():
    from generators.commands import write

    text = made(write())
    assert "\n## dualnet train\n" in text and "\n### dualnet bench memory\n" in text
    assert "--iterations" in text.partition("## dualnet caffe\n")[2].partition("\n## ")[0]


def test_text_is_not_taken_for_markdown():
    from generators.markdown import escape

    assert escape("w <- w - lr*diff, `a*b`, _x_") == "w \\<- w - lr\\*diff, `a*b`, \\_x\\_"


@dataclass
class Section:
    """A section of a test."""

    #: With a
    #: comment.
    told: int = 1
    untold: Optional[float] = None


def test_a_key_has_its_type_its_default_and_its_comment():
    from generators import configuration

    (entry, _) = dataclasses.fields(Section)
    text = made(configuration._key("part.", Section, entry))
    assert text.startswith("````{confval} part.told\n:type: whole number\n:default: `1`\n")
    assert "\nWith a comment.\n" in text


def test_a_key_without_a_comment_is_an_error():
    from generators import configuration

    (_, entry) = dataclasses.fields(Section)
    with pytest.raises(LookupError, match="Section.untold has no comment"):
        made(configuration._key("part.", Section, entry))


def test_a_key_that_may_change_says_why():
    from generators.configuration import write

    text = made(write())
    device = text.partition("{confval} PIECE.device\n")[2].partition("````")[0]
    assert "May differ between the starts of a run and between its pieces: belongs to" in device
    assert "May differ" not in text.partition("{confval} seed\n")[2].partition("````")[0]


def test_the_files_of_a_run_are_listed():
    from generators import run_directory

    assert "net1_iter_100.caffemodel " in made(run_directory.write())
    assert "net1.e000001.heartbeat " in made(run_directory.write_exchange())
    assert "HMAC of the 96 bytes before" in made(run_directory.write_trailer())


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Optional[int], "whole number"),
        (Union[str, int], "text or whole number"),
        (list[str], "list of text"),
        (dict[str, str], "names and what each stands for"),
        (bool, "true or false"),
    ],
)
def test_types_are_told_in_words(kind, words):
    from generators import configuration

    assert configuration._type(kind) == words


def test_exit_codes_come_in_order():
    from generators.exit_codes import write

    codes = [line.split("|")[1].strip() for line in list(write())[2:]]
    assert codes[0] == "0" and codes[-1] == "128 + n"
    assert [int(code) for code in codes[1:-1]] == sorted(int(code) for code in codes[1:-1])


def test_scripts_say_their_usage():
    from generators.scripts import usage, write

    assert usage(ROOT / "scripts/run_net.sh").startswith("Usage: scripts/run_net.sh K CONFIG")
    assert usage(ROOT / "scripts/environment.sh") == ""
    assert "\n## scripts/slurm/nodes.sbatch\n" in made(write())
