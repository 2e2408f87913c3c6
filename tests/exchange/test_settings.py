"""Settings are checked where they are made."""

from __future__ import annotations

from typing import Any

import pytest

from dualnet.errors import ConfigError
from dualnet.exchange.settings import ExchangeSettings


@pytest.mark.parametrize(
    "change",
    [
        {"partner_timeout_s": "600"},
        {"partner_timeout_s": -1},
        {"partner_timeout_s": float("nan")},
        {"verify": 1},
        {"retain": 1.5},
        {"retain": True},
        {"filesystem": "ntfs"},
        {"heartbeat_s": 0},
        {"lock_dir": None},
        {"dtype": "float8"},
        {"dtype": ""},
        {"dtype_up": "half"},
        {"error_feedback": 1},
        {"digest": "md5"},
    ],
)
def test_bad_values(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"exchange.{next(iter(change))}"):
        ExchangeSettings(**change)


def test_whole_numbers_are_times_too() -> None:
    assert ExchangeSettings(partner_timeout_s=5).partner_timeout_s == 5


def test_at_least_four_heartbeats_before_death() -> None:
    assert ExchangeSettings().beat_s == 5.0
    assert ExchangeSettings(dead_after_s=2.0).beat_s == 0.5


def test_each_way_may_have_a_dtype_of_its_own() -> None:
    both = ExchangeSettings(dtype="float16")
    assert both.dtypes == {"up": "float16", "down": "float16"}
    one = ExchangeSettings(dtype_down="int8")
    assert one.dtypes == {"up": "float32", "down": "int8"}
