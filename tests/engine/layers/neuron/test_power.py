"""Exp, Log, Power."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import PrototxtError
from tests.engine.gradient_check import check_gradients
from tests.engine.harness import make_layer


def positive(*shape):
    return np.random.uniform(0.5, 2, shape).astype(np.float32)


FUNCTIONS = {
    'type: "Exp"': np.exp,
    'type: "Exp" exp_param { base: 2 scale: 0.5 shift: -1 }': lambda x: 2 ** (0.5 * x - 1),
    'type: "Exp" exp_param { scale: -1 shift: 1 }': lambda x: np.exp(1 - x),
    'type: "Log"': np.log,
    'type: "Log" log_param { base: 10 scale: 2 shift: 0.5 }': lambda x: np.log10(2 * x + 0.5),
    'type: "Power"': lambda x: x,
    'type: "Power" power_param { scale: -3 shift: 1 }': lambda x: 1 - 3 * x,
    'type: "Power" power_param { power: 2 scale: 3 shift: 1 }': lambda x: (3 * x + 1) ** 2,
    'type: "Power" power_param { power: -0.5 scale: 2 }': lambda x: (2 * x) ** -0.5,
    'type: "Power" power_param { power: 0 }': np.ones_like,
    'type: "Power" power_param { power: 3 scale: 0 shift: 2 }': lambda x: np.full_like(x, 8),
}


@pytest.mark.parametrize("text", FUNCTIONS)
def test_values_and_gradients(text):
    x = positive(2, 3, 4)
    rig = make_layer(text, x)
    expected = FUNCTIONS[text](x.astype(float))
    np.testing.assert_allclose(rig.forward()[0], expected, rtol=1e-5, atol=1e-6)
    check_gradients(rig, step=1e-3, tolerance=5e-3)


@pytest.mark.parametrize("text", FUNCTIONS)
def test_in_place_gives_the_same(text):
    x, g = positive(2, 3, 4), positive(2, 3, 4)
    apart, inside = make_layer(text, x), make_layer(text, x, in_place=True)
    np.testing.assert_array_equal(apart.forward()[0], inside.forward()[0])
    np.testing.assert_array_equal(apart.backward(g)[0], inside.backward(g)[0])


def test_a_power_has_a_gradient_at_zero():
    x = np.array([[0, 2]], np.float32)
    rig = make_layer('type: "Power" power_param { power: 3 }', x)
    rig.forward()
    np.testing.assert_array_equal(rig.backward(np.ones_like(x))[0], [[0, 12]])


def test_a_constant_hides_infinities():
    x = np.array([[np.inf, np.nan]], np.float32)
    rig = make_layer('type: "Power" power_param { power: 0 }', x)
    np.testing.assert_array_equal(rig.forward()[0], [[1, 1]])
    np.testing.assert_array_equal(rig.backward(np.ones_like(x))[0], [[0, 0]])


def test_bases_must_make_sense():
    x = positive(1, 2)
    for kind in ("Exp", "Log"):
        text = f'type: "{kind}" {kind.lower()}_param {{ base: -2 }}'
        with pytest.raises(PrototxtError, match="strictly positive and finite, or -1 for e; it is"):
            make_layer(text, x)
    with pytest.raises(PrototxtError, match=r"log_param\.base 1 has no logarithms"):
        make_layer('type: "Log" log_param { base: 1 }', x)
    with pytest.raises(PrototxtError, match="= 10 . 1000, which is infinite; lower shift"):
        make_layer('type: "Exp" exp_param { base: 10 shift: 1000 }', x)
