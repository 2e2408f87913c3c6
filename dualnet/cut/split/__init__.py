"""From any single training net: a chain of pieces, their solvers and the YAML that trains them.

For each cut, one after the other (chain.py):

    net --- dataflow ---> partition (which layer is where, what crosses)
                              |
            shapes, rates --> flow (what has a gradient, what is compared)
                              |
                            names --> nets, headers, configuration

pieces.py goes this way; each word is a module, dataflow.py and shapes.py in the folder above, where
plans of a cut use them too.
"""

from dualnet.cut.split.pieces import Request, Split, solver_beside, split, write

__all__ = ["Request", "Split", "solver_beside", "split", "write"]
