"""Solvers by name: pycaffe's class for each update rule, and the one that a file asks for."""

from __future__ import annotations

from dualnet.engine.core.call import file_name
from dualnet.engine.formats import prototxt
from dualnet.engine.formats.prototxt import Path
from dualnet.engine.solvers.solver import Solver

__all__ = [
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "NesterovSolver",
    "RMSPropSolver",
    "SGDSolver",
    "get_solver",
    "solver_class",
]


class SGDSolver(Solver):
    """A solver whose rule is SGD whatever the file's `type` says."""

    rule_name = "SGD"


class NesterovSolver(SGDSolver):
    """A solver whose rule is Nesterov's."""

    rule_name = "Nesterov"


class AdaGradSolver(SGDSolver):
    """A solver whose rule is AdaGrad."""

    rule_name = "AdaGrad"


class RMSPropSolver(SGDSolver):
    """A solver whose rule is RMSProp."""

    rule_name = "RMSProp"


class AdaDeltaSolver(SGDSolver):
    """A solver whose rule is AdaDelta."""

    rule_name = "AdaDelta"


class AdamSolver(SGDSolver):
    """A solver whose rule is Adam."""

    rule_name = "Adam"


def get_solver(solver_file: Path) -> Solver:
    """The solver that a prototxt's `type` names.

    Raises:
        CaffeError: as the constructor.
    """
    file_name(solver_file, "get_solver(solver_file)", "solver_file")
    return solver_class(prototxt.read_solver(solver_file).type)(solver_file)


def solver_class(name: str) -> type[Solver]:
    """The class of a solver type; `Solver` itself for an unknown one, which it then reports."""
    named: list[type[Solver]] = [SGDSolver, *SGDSolver.__subclasses__()]
    classes = {cls.rule_name: cls for cls in named}
    return classes.get(name, Solver)
