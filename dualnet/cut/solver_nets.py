"""The one net of two phases that a solver means, in whichever of Caffe's ways it says so.

A solver names its nets as `net`, or as `train_net` and `test_net`, or holds them itself in
`net_param`, `train_net_param` and `test_net_param` (solver.cpp, InitTrainNet and InitTestNets).
dualnet works with one net of two phases. Where training and test are two files, their common layers
are the training net's, and those that differ get an include rule for their phase.
"""

from __future__ import annotations

import difflib
import os
from typing import Any, NamedTuple, Optional

from dualnet.backend import caffe_pb2
from dualnet.config.named_file import find, looked_in
from dualnet.cut.graph import checked_net, included_layers, read_net, solver_states
from dualnet.errors import ConfigError

__all__ = ["OTHER_NETS", "SolverNet", "net_of", "test_nets"]

#: What else than `net` may name or hold a solver's nets.
OTHER_NETS = ("train_net", "test_net", "net_param", "train_net_param", "test_net_param")
#: One of these is the training net.
_TRAIN_NETS = ("net", "net_param", "train_net", "train_net_param")
#: A layer's fields that say nothing about what it computes.
_RULES = ("include", "exclude", "param", "phase")


class SolverNet(NamedTuple):
    """A solver's net.

    Attributes:
        net: A NetParameter of both phases.
        path: Where the training net was read, as `net.prototxt` or `solver.prototxt: net_param`.
        test_path: The same of the net that tests use.
        origins: Of each layer its number in the training net, None for those of the test net; None
            where both are one net.
    """

    net: Any
    path: str
    test_path: str
    origins: Optional[list[Optional[int]]] = None


class _Source(NamedTuple):
    """Where a net is: in a file, or in the solver.

    Attributes:
        path: The file, or the solver and its field.
        held: The net in the solver.
        named: The file as the solver names it.
        solver: The solver's path.
    """

    path: str
    held: Optional[Any] = None
    named: str = ""
    solver: str = ""

    def read(self) -> Any:
        if self.held is None:
            if not os.path.exists(self.path):
                where = looked_in(self.named, self.solver)
                raise ConfigError(f"{self.solver}: net {self.named}: no such file{where}")
            return read_net(self.path)
        net = caffe_pb2.NetParameter()
        net.CopyFrom(self.held)
        return checked_net(net, self.path)

    def is_same(self, other: _Source) -> bool:
        if self.held is not None or other.held is not None:
            return self.held == other.held
        return os.path.realpath(self.path) == os.path.realpath(other.path)


def net_of(solver: Any, path: str) -> SolverNet:
    """The net that a solver trains and tests.

    Args:
        solver: A SolverParameter.
        path: Where it was read.

    Raises:
        ConfigError: It says no training net or several, or one of them cannot be read.
    """
    given = [name for name in _TRAIN_NETS if solver.HasField(name)]
    if not given:
        raise ConfigError(
            f'{path}: no net: "…" in it, nor {", ".join(_TRAIN_NETS[1:])}; dualnet needs one '
            "train_test prototxt"
        )
    if len(given) > 1:
        raise ConfigError(
            f"{path}: {given[1]} beside {given[0]}, and both say what to train; keep one"
        )
    train = _source(solver, path, given[0])
    tests = test_nets(solver, path)
    test = tests[0] if tests and solver.test_iter else train
    if test.is_same(train):
        return SolverNet(train.read(), train.path, train.path)
    return _combined(train, test, solver_states(solver))


def test_nets(solver: Any, path: str) -> list[_Source]:
    """The nets of a solver that are for tests alone, in Caffe's order (solver.cpp)."""
    held = [_Source(f"{path}: test_net_param", net) for net in solver.test_net_param]
    return held + [_file(name, path) for name in solver.test_net]


def _source(solver: Any, path: str, field: str) -> _Source:
    value = getattr(solver, field)
    return _file(value, path) if isinstance(value, str) else _Source(f"{path}: {field}", value)


def _file(name: str, solver: str) -> _Source:
    return _Source(find(name, solver), named=name, solver=solver)


def _combined(train: _Source, test: _Source, states: dict[str, Any]) -> SolverNet:
    """One net of two."""
    nets = {"TRAIN": train.read(), "TEST": test.read()}
    numbers = {
        phase: included_layers(net, phase, source.path, states.get(phase))
        for (phase, net), source in zip(nets.items(), (train, test))
    }
    keys = {
        phase: [_content(net.layer[number]) for number in numbers[phase]]
        for phase, net in nets.items()
    }
    combined = caffe_pb2.NetParameter()
    combined.CopyFrom(nets["TRAIN"])
    for field in ("layer", "state"):  # rules have been followed
        combined.ClearField(field)
    origins: list[Optional[int]] = []

    def add(phase: str, place: int, only: bool) -> None:
        layer = combined.layer.add()
        layer.CopyFrom(nets[phase].layer[numbers[phase][place]])
        layer.ClearField("include")
        layer.ClearField("exclude")
        if only:
            layer.include.add(phase=caffe_pb2.Phase.Value(phase))
        origins.append(numbers[phase][place] if phase == "TRAIN" else None)

    matcher = difflib.SequenceMatcher(None, keys["TRAIN"], keys["TEST"], autojunk=False)
    for kind, first, end, other_first, other_end in matcher.get_opcodes():
        for place in range(first, end):
            add("TRAIN", place, only=kind != "equal")
        if kind != "equal":
            for place in range(other_first, other_end):
                add("TEST", place, only=True)
    return SolverNet(combined, train.path, test.path, origins)


def _content(layer: Any) -> bytes:
    """What makes a layer the same in training and test: all but rules, rates and fillers."""
    content = caffe_pb2.LayerParameter()
    content.CopyFrom(layer)
    for field in _RULES:
        content.ClearField(field)
    for field, value in content.ListFields():
        if field.type == field.TYPE_MESSAGE and hasattr(value, "ListFields"):
            for inner, _ in value.ListFields():
                if inner.name.endswith("filler") and not layer.type.endswith("Data"):
                    value.ClearField(inner.name)
    return bytes(content.SerializeToString(deterministic=True))
