"""From any single training net: net1, net2, their solvers and the YAML that trains them.

    single net --- wiring ---> sides (which layer is where, what crosses)
                                 |
               shapes, rates --> flow (what has a gradient, what is compared)
                                 |
                               names --> nets, solvers, configuration

halves.py goes this way; each word is a module, wiring.py and shapes.py a floor higher, where plans
of a cut use them too.
"""

from dualnet.cut.split.pieces import Request, Split, solver_beside, split, write

__all__ = ["Request", "Split", "solver_beside", "split", "write"]
