"""A plan without measuring, for what shows plans."""

from __future__ import annotations

import pytest

from dualnet.cut.plan import Plan, Request, recommend
from dualnet.cut.plan.cuts import find_cuts
from dualnet.cut.plan.estimate import estimate, single_cost
from dualnet.cut.plan.memory import Memory
from tests.cut.plan.planning import BUILT, CARRIER, TIMES, learning, wired


@pytest.fixture(params=[False, True], ids=["own cores", "shared cores"])
def small(request):
    """A plan of the small net, from chosen numbers."""
    dataflow = wired()
    memory = Memory(dataflow, BUILT, "SGD")
    cuts, refusals = find_cuts(dataflow, learning(dataflow))
    estimates = [estimate(c, BUILT, TIMES, CARRIER, memory, request.param) for c in cuts]
    single = single_cost(dataflow, BUILT, TIMES, memory)
    best, reason = recommend(estimates, single, "alternating")
    asked = Request("net.prototxt", shared=request.param)
    return Plan(asked, "small", 4, 1, single, 0, estimates, refusals, CARRIER, best, reason)
