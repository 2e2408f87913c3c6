"""A plan without measuring, for what shows plans."""

from __future__ import annotations

import pytest

from tests.cut.plan.planning import planned


@pytest.fixture(params=[None, 1], ids=["nodes of their own", "one processor"])
def small(request):
    """A plan of the small net, from chosen numbers."""
    return planned(processors=request.param)
