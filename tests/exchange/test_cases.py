"""Each fault case of the exchange, a few times; the fault campaign injects them in hundreds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.exchange.cases import CASES, Case

TIMES = 3


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.number}-{case.run.__name__}")
def test_case(case: Case, tmp_path: Path) -> None:
    case.inject(tmp_path, seed=1701, times=TIMES)
    assert list(tmp_path.iterdir()) == []
