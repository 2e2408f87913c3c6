"""The fault cases of the exchange, by number: each can be injected once or a thousand times.

The suite runs each a few times (test_cases.py), the fault campaign as often as it likes.
"""

from __future__ import annotations

from tests.exchange.cases import messages, pieces, storage, wire  # noqa: F401 (they register)
from tests.exchange.cases.bench import CASES, Bench, Case

__all__ = ["CASES", "Bench", "Case"]
