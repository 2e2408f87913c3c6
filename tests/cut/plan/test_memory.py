"""Memory, counted by hand."""

from __future__ import annotations

import pytest

from dualnet.cut.plan.memory import Memory
from tests.cut.plan.planning import BUILT, LAYERS, NET, wired


def memory(solver="SGD", text=NET):
    return Memory(wired(text), BUILT, solver)


def numbers(*names):
    return [LAYERS.index(name) for name in names]


@pytest.mark.parametrize(("solver", "copies"), [("SGD", 3), ("RMSProp", 3), ("Adam", 4)])
def test_the_single_net(solver, copies):
    values = 32 + 4  # data and labels have no gradient
    learnt = 24 + 20 + 20 + 20 + 12 + 1  # ip1 once, though relu1 works on it
    weights = 54 + 35 + 30 + 18
    expected = 4 * (values + 2 * learnt + copies * weights)
    assert memory(solver).of(range(len(LAYERS))) == expected


def test_parameters():
    assert memory().parameters(numbers("ip1", "relu1", "ip4")) == 54 + 18
    frozen = NET.replace(
        'top: "ip1" }', 'top: "ip1" param { lr_mult: 0 } param { lr_mult: 0 } }', 1
    )
    assert memory(text=frozen).parameters(numbers("ip1", "ip4")) == 18


def test_a_piece_has_what_comes_in_besides():
    layers = numbers("ip3", "sum", "ip4", "loss")
    own = 4 * (2 * (20 + 20 + 12 + 1) + 3 * (30 + 18))
    assert memory().of(layers) == own
    # The blob and the message that brought it, and one more array.
    assert memory().of(layers, fed=96, buffers=80) == own + 2 * 96 + 80


def test_without_anything_that_learns_there_are_no_gradients():
    assert memory().of(numbers("data", "relu1")) == 4 * (32 + 4 + 24)
