"""Where to cut a net: every cut, what it costs, and which one to take.

cuts.py finds the cuts, times.py measures the single net's layers and memory.py counts what they
need; estimate.py makes each cut's cost of that, choice.py recommends one, and table.py and
figure.py show all of them.
"""

from dualnet.cut.plan.choice import SCHEDULES, Plan, Request, plan, recommend

__all__ = ["SCHEDULES", "Plan", "Request", "plan", "recommend"]
