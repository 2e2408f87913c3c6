"""The interface of update rules, and their registry."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Callable, ClassVar, TypeVar

from torch import Tensor

from dualnet.engine.core.blob import Blob
from dualnet.engine.errors import SolverError
from dualnet.engine.proto import caffe_pb2

__all__ = ["UpdateRule", "register_rule", "rule_class", "rule_names"]

R = TypeVar("R", bound="type[UpdateRule]")

_rules: dict[str, type[UpdateRule]] = {}


class UpdateRule:
    """Turns gradients into what is subtracted from the weights.

    Args:
        param: the solver's settings.
        shapes: the parameters' shapes.

    Attributes:
        history: blobs that a snapshot stores, `slots` times as many as parameters: first those
            of slot 0 in the parameters' order, then those of slot 1.
    """

    #: The name in prototxt.
    name: ClassVar[str] = ""
    #: How many history blobs a parameter has.
    slots: ClassVar[int] = 1

    def __init__(self, param: caffe_pb2.SolverParameter, shapes: list[tuple[int, ...]]) -> None:
        self.param = param
        self.history: list[Blob] = [Blob(s) for _ in range(self.slots) for s in shapes]
        self._count = len(shapes)
        self.check()

    def check(self) -> None:
        """Raises SolverError for settings that the rule cannot use; called by the constructor."""

    def refuse_momentum(self) -> None:
        """For rules that do not use momentum.

        Raises:
            SolverError: it is not 0, as Caffe demands too.
        """
        if self.param.momentum:
            raise SolverError(
                f"momentum cannot be used with {self.name}, it is {self.param.momentum:g}; "
                "remove it or set it to 0"
            )

    def slot(self, number: int) -> list[Tensor]:
        """The history tensors of one slot, in the parameters' order."""
        first = number * self._count
        return [blob.data_tensor for blob in self.history[first : first + self._count]]

    def compute(self, grads: list[Tensor], rates: list[float], iteration: int) -> None:
        """Replaces the gradients, in place, by the steps: the values to subtract from the weights.

        Args:
            grads: one tensor a parameter, weight decay included; overwritten with the step.
            rates: one number a parameter: the learning rate with lr_mult already multiplied in.
            iteration: how many updates were made before.
        """
        raise NotImplementedError

    def fused(
        self,
        grads: list[Tensor],
        weights: list[Tensor],
        rates: list[float],
        decays: list[float],
    ) -> bool:
        """Optional fast path: weight decay, rule and weight update in one pass over the memory.

        Args:
            grads: one tensor a parameter, without weight decay; overwritten with the step.
            weights: the parameters.
            rates: the learning rate times each parameter's lr_mult.
            decays: how much of each weight is added to its gradient.

        Returns:
            Whether it applied; if not, nothing has changed, and `compute` must run.
        """
        return False


def register_rule(name: str) -> Callable[[R], R]:
    """Class decorator: makes a rule available as `type: "name"` in a solver's prototxt."""

    def add(cls: R) -> R:
        cls.name = name
        _rules[name] = cls
        return cls

    return add


def rule_names() -> list[str]:
    """The solver types that exist."""
    package = importlib.import_module("dualnet.engine.solvers")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"dualnet.engine.solvers.{module.name}")
    return sorted(_rules)


def rule_class(name: str) -> type[UpdateRule]:
    """The rule of a solver type.

    Raises:
        SolverError: lists the types that exist.
    """
    names = rule_names()
    if name not in _rules:
        raise SolverError(f"unknown solver type '{name}'; the types are: {', '.join(names)}")
    return _rules[name]
