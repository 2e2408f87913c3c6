"""What a key allows, and what is said where it does not."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Optional

import pytest

from dualnet.config.keys import key, wrong_values
from dualnet.config.plain import sections
from dualnet.config.schema import Config

NAN = float("nan")


@dataclass(frozen=True)
class Section:
    word: str = key("a", one_of=("a", "b"))
    maybe: Optional[str] = key(None, one_of=(None, "a"))
    count: int = key(1, least=1)
    interval: int = key(0, least=0, zero="switches it off")
    seconds: float = key(1.0, least=0)
    few: int = key(1, least=1, most=99)
    share: float = key(0.5, above=0, below=1)
    tolerance: float = key(0.5, least=0, below=1)
    rate: Optional[float] = key(None, above=0)
    free: str = ""


def test_what_is_allowed_passes():
    assert not list(wrong_values(Section()))
    assert not list(wrong_values(Section("b", "a", 7, 5, 0.0, 99, 0.9, 0.0, 1e-9, "x")))


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("word", "c", "'c' is none of a, b"),
        ("maybe", "b", "'b' is none of None, a"),
        ("count", 0, "0 is not positive"),
        ("interval", -1, "-1 is negative; 0 switches it off"),
        ("seconds", -0.5, "-0.5 is negative"),
        ("seconds", NAN, "nan is negative"),
        ("few", 0, "0 is not within 1 and 99"),
        ("few", 100, "100 is not within 1 and 99"),
        ("share", 0.0, "0.0 is not between 0 and 1"),
        ("share", 1.0, "1.0 is not between 0 and 1"),
        ("tolerance", 1.0, "1.0 is not within 0 and 1"),
        ("rate", 0.0, "0.0 is not positive"),
    ],
)
def test_what_is_wrong_is_named(name, value, problem):
    (found,) = wrong_values(dataclasses.replace(Section(), **{name: value}))
    assert found == (name, problem)


def test_every_default_is_allowed():
    for prefix, section in sections(Config()):
        assert not [(prefix, *wrong) for wrong in wrong_values(section)]


def test_every_number_says_what_it_may_be():
    """A number without a range is one for which nobody asked what the least and the most are."""
    bare = [
        prefix + entry.name
        for prefix, section in sections(Config())
        for entry in dataclasses.fields(section)
        if str(entry.type) in ("int", "float", "Optional[int]", "Optional[float]")
        and not entry.metadata
    ]
    assert sorted(bare) == ["coupling.loss_weight", "cut.loss_weight", "train.keep"]
