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
