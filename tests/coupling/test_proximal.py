"""The proximal point against a quadratic loss, whose minimum has a closed form."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.config import Coupling
from dualnet.coupling import Multipliers, penalty, proximal_point


class Quadratic:
    """N L(z) = sum_n 1/2 z_n' A z_n - b_n' z_n, with A symmetric and its spectrum in [0, 1]."""

    def __init__(self, samples=4, size=6):
        square = np.random.randn(size, size)
        values, vectors = np.linalg.eigh(square @ square.T)
        self.a = (vectors * (values / values.max())) @ vectors.T
        self.b = np.random.randn(samples, size)
        self.x = np.random.randn(samples, size)

    def gradient(self, z):
        return {"y": z["y"] @ self.a - self.b}

    def proximal_point(self, rho, u=0.0):
        """argmin of N L(z) + <u, x - z> + rho/2 |z - x|^2: (A + rho) z = b + u + rho x."""
        identity = np.eye(len(self.a))
        return np.linalg.solve(self.a + rho * identity, (self.b + u + rho * self.x).T).T


def find(problem, rho, steps, u=None, rate=1.0):
    multipliers = {} if u is None else {"y": u}
    x = {"y": problem.x}
    return proximal_point(problem.gradient, x, x, multipliers, rho, steps, rate)["y"]


@pytest.mark.parametrize("rho", [2.0, 10.0, 100.0])
def test_steps_reach_the_closed_form(rho):
    problem = Quadratic()
    np.testing.assert_allclose(
        find(problem, rho, 60), problem.proximal_point(rho), rtol=1e-6, atol=1e-8
    )


def test_a_small_penalty_needs_a_smaller_rate():
    problem = Quadratic()
    expected = problem.proximal_point(0.5)
    assert not np.allclose(find(problem, 0.5, 60), expected)  # steps of 1/rho overshoot
    np.testing.assert_allclose(find(problem, 0.5, 200, rate=0.3), expected, rtol=1e-6, atol=1e-8)


def test_multipliers_shift_the_minimum():
    problem = Quadratic()
    u = np.random.randn(*problem.x.shape)
    np.testing.assert_allclose(
        find(problem, 3.0, 60, u), problem.proximal_point(3.0, u), rtol=1e-6, atol=1e-8
    )


def test_one_step_is_the_gradient_target():
    problem = Quadratic()
    expected = problem.x - problem.gradient({"y": problem.x})["y"] / 5.0
    np.testing.assert_allclose(find(problem, 5.0, 1), expected, rtol=1e-5, atol=1e-7)


def test_error_of_the_pull_falls_as_one_over_rho():
    problem = Quadratic()
    true = problem.gradient({"y": problem.x})["y"]
    errors = []
    for rho in (10.0, 100.0, 1000.0):
        pull = rho * (problem.x - find(problem, rho, 80))
        errors.append(np.linalg.norm(pull - true))
    # g(z) - g(x) = A (z - x) = -A g/rho + ...: ten times the penalty, a tenth of the error.
    ratios = [errors[0] / errors[1], errors[1] / errors[2]]
    np.testing.assert_allclose(ratios, [10.0, 10.0], rtol=0.12)


# Multipliers.


def test_penalty_grows_to_its_cap():
    coupling = Coupling(beta=0.5, beta_growth=10.0, beta_cap=30.0)
    assert [penalty(coupling, t) for t in range(4)] == [0.5, 5.0, 30.0, 30.0]


def test_multipliers_become_the_back_propagated_errors_of_a_fixed_x():
    # With x held fast, the alternations solve  min L(z) subject to z = x.
    problem, multipliers = Quadratic(), Multipliers()
    x, z, residuals = {"y": problem.x}, {"y": problem.x}, []
    for _ in range(12):
        z = proximal_point(problem.gradient, x, z, multipliers.values, 3.0, 40)
        multipliers.ascend(x, z, 3.0)
        residuals.append(multipliers.primal_residual)
    assert all(later < earlier for earlier, later in zip(residuals, residuals[1:]))
    true = problem.gradient(x)["y"]
    np.testing.assert_allclose(multipliers.values["y"], true, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(z["y"], problem.x, rtol=1e-4, atol=1e-5)


def test_alternations_solve_a_convex_problem_with_known_solution():
    # min over w of L(x(w)), x(w) = w: net1 as simple as can be, with exact steps of its own.
    problem, multipliers = Quadratic(), Multipliers()
    problem.a += 0.1 * np.eye(len(problem.a))
    solution = np.linalg.solve(problem.a, problem.b.T).T
    x = {"y": problem.x}
    z = x
    for _ in range(400):
        z = proximal_point(problem.gradient, x, z, multipliers.values, 2.0, 40)
        multipliers.ascend(x, z, 2.0)
        x = multipliers.shifted(z, 2.0)  # argmin over x of <u, x - z> + beta/2 |x - z|^2
    np.testing.assert_allclose(x["y"], solution, rtol=1e-3, atol=1e-3)
    # At the solution the gradient is zero, and so are the multipliers.
    np.testing.assert_allclose(multipliers.values["y"], 0, atol=1e-3)


def test_shifted_square_is_the_augmented_lagrangian():
    u, x, z = (np.random.randn(4, 6) for _ in range(3))
    multipliers, beta = Multipliers(), 2.5
    multipliers.values = {"y": u}
    shifted = multipliers.shifted({"y": z}, beta)["y"]
    expected = (np.vdot(u, x - z) + beta / 2 * np.vdot(x - z, x - z)) / 4
    square = beta / 2 * np.vdot(x - shifted, x - shifted) / 4
    np.testing.assert_allclose(square + multipliers.offset(beta), expected, rtol=1e-10)


def test_residuals_are_lengths_per_sample():
    multipliers = Multipliers()
    x, first, second = (np.random.randn(4, 6) for _ in range(3))
    multipliers.ascend({"y": x}, {"y": first}, 2.0)
    multipliers.ascend({"y": x}, {"y": second}, 3.0)
    np.testing.assert_allclose(multipliers.primal_residual, np.linalg.norm(x - second) / 2)
    np.testing.assert_allclose(multipliers.dual_residual, 3.0 * np.linalg.norm(second - first) / 2)
    multipliers.reset()
    assert multipliers.values == {}
