"""Update rules against their formulas in double precision, and their refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dualnet.engine.errors import SolverError
from dualnet.engine.proto import caffe_pb2
from dualnet.engine.solvers import solver_types as solvers
from dualnet.engine.solvers.rule import rule_class, rule_names

SHAPES = [(3, 2), (2,)]
RATES = [0.1, 0.2]


def nesterov(p, g, h, rate, t):
    before = h[0]
    h[0] = p.momentum * h[0] + rate * g
    return (1 + p.momentum) * h[0] - p.momentum * before


def adagrad(p, g, h, rate, t):
    h[0] = h[0] + g * g
    return rate * g / (np.sqrt(h[0]) + p.delta)


def rmsprop(p, g, h, rate, t):
    h[0] = p.rms_decay * h[0] + (1 - p.rms_decay) * g * g
    return rate * g / (np.sqrt(h[0]) + p.delta)


def adadelta(p, g, h, rate, t):
    h[0] = p.momentum * h[0] + (1 - p.momentum) * g * g
    step = g * np.sqrt((h[1] + p.delta) / (h[0] + p.delta))
    h[1] = p.momentum * h[1] + (1 - p.momentum) * step * step
    return rate * step


def adam(p, g, h, rate, t):
    h[0] = p.momentum * h[0] + (1 - p.momentum) * g
    h[1] = p.momentum2 * h[1] + (1 - p.momentum2) * g * g
    correction = np.sqrt(1 - p.momentum2**t) / (1 - p.momentum**t)
    return rate * correction * h[0] / (np.sqrt(h[1]) + p.delta)


def sgd(p, g, h, rate, t):
    h[0] = p.momentum * h[0] + rate * g
    return h[0]


FORMULAS = {
    "SGD": (sgd, {"momentum": 0.9}),
    "Nesterov": (nesterov, {"momentum": 0.9}),
    "AdaGrad": (adagrad, {"delta": 1e-3}),
    "RMSProp": (rmsprop, {"delta": 1e-3, "rms_decay": 0.8}),
    "AdaDelta": (adadelta, {"momentum": 0.95, "delta": 1e-4}),
    "Adam": (adam, {"momentum": 0.9, "momentum2": 0.99, "delta": 1e-4}),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formula_and_history(name):
    formula, settings = FORMULAS[name]
    param = caffe_pb2.SolverParameter(**settings)
    rule = rule_class(name)(param, SHAPES)
    assert [b.dims for b in rule.history] == SHAPES * rule.slots
    draw = np.random.default_rng(3)
    expected = [[np.zeros(s) for _ in range(rule.slots)] for s in SHAPES]
    for t in range(1, 6):
        grads = [draw.standard_normal(s).astype(np.float32) for s in SHAPES]
        tensors = [torch.from_numpy(g.copy()) for g in grads]
        rule.compute(tensors, RATES, t - 1)
        for k, gradient in enumerate(grads):
            step = formula(param, gradient.astype(np.float64), expected[k], RATES[k], t)
            np.testing.assert_allclose(tensors[k].numpy(), step, rtol=2e-5, atol=1e-7)
    for slot in range(rule.slots):
        for k in range(len(SHAPES)):
            held = rule.history[slot * len(SHAPES) + k].data
            np.testing.assert_allclose(held, expected[k][slot], rtol=2e-5, atol=1e-7)


DECAYS = [0.01 * (k % 2) for k in range(len(SHAPES))]


def fused_problem(**settings):
    """A rule of SGD, and the gradients and weights for it."""
    rule = rule_class("SGD")(caffe_pb2.SolverParameter(**settings), SHAPES)
    draw = np.random.default_rng(4)
    arrays = [[draw.standard_normal(s).astype(np.float32) for s in SHAPES] for _ in range(2)]
    return rule, *([torch.from_numpy(a) for a in group] for group in arrays)


@pytest.mark.parametrize("rates", [RATES, [0.0] * len(SHAPES), [2.0] * len(SHAPES)])
def test_fused_sgd_is_the_formula(rates):
    rule, grads, weights = fused_problem(momentum=0.9)
    expected = [w.double().numpy().copy() for w in weights]
    history = [np.zeros(s) for s in SHAPES]
    for _ in range(5):
        before = [g.clone() for g in grads]
        assert rule.fused(grads, weights, rates, DECAYS)
        for k, gradient in enumerate(before):
            whole = gradient.double().numpy() + DECAYS[k] * expected[k]
            history[k] = 0.9 * history[k] + rates[k] * whole
            expected[k] -= history[k]
            # As in Caffe the gradient is left holding what was subtracted.
            np.testing.assert_allclose(grads[k].numpy(), history[k], rtol=2e-5, atol=1e-6)
            np.testing.assert_allclose(rule.history[k].data, history[k], rtol=2e-5, atol=1e-6)
            np.testing.assert_allclose(weights[k].numpy(), expected[k], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("case", ["no momentum", "tiny rate", "other order"])
def test_fused_sgd_declines_and_changes_nothing(case):
    rule, grads, weights = fused_problem(momentum=0.0 if case == "no momentum" else 0.9)
    rates = [1e-12] * len(SHAPES) if case == "tiny rate" else RATES
    if case == "other order":
        matrix = next(k for k, shape in enumerate(SHAPES) if len(shape) > 1)
        grads[matrix] = grads[matrix].mT.contiguous().mT
    before = [t.clone() for t in grads + weights]
    assert not rule.fused(grads, weights, rates, DECAYS)
    assert all(torch.equal(a, b) for a, b in zip(before, grads + weights))
    assert all((blob.data == 0).all() for blob in rule.history)


def test_every_rule_has_a_formula_here_and_a_class():
    assert sorted(FORMULAS) == rule_names()
    for name in FORMULAS:
        assert getattr(solvers, f"{name}Solver").rule_name == name


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("AdaGrad", {"momentum": 0.9}, "momentum cannot be used with AdaGrad, it is 0.9"),
        ("RMSProp", {"momentum": 0.5}, "momentum cannot be used with RMSProp, it is 0.5"),
        ("RMSProp", {"rms_decay": 1.0}, "rms_decay must lie between 0 and 1 .excluded., it is 1"),
    ],
)
def test_refusals(name, settings, message):
    with pytest.raises(SolverError, match=message):
        rule_class(name)(caffe_pb2.SolverParameter(**settings), SHAPES)


SOLVER = """net_param { layer { name: "d" type: "DummyData" top: "x"
  dummy_data_param { shape { dim: 2 dim: 2 } } } } base_lr: 1 lr_policy: "fixed" """


@pytest.mark.parametrize(
    ("settings", "cls"),
    [
        ("solver_type: SGD", solvers.SGDSolver),
        ("solver_type: NESTEROV", solvers.NesterovSolver),
        ("solver_type: ADAGRAD", solvers.AdaGradSolver),
        ("solver_type: RMSPROP", solvers.RMSPropSolver),
        ("solver_type: ADADELTA", solvers.AdaDeltaSolver),
        ("solver_type: ADAM", solvers.AdamSolver),
        ('type: "Adam"', solvers.AdamSolver),
        ("", solvers.SGDSolver),
    ],
)
def test_get_solver_chooses_the_class(tmp_path, settings, cls):
    path = tmp_path / "solver.prototxt"
    path.write_text(SOLVER + settings)
    found = solvers.get_solver(path)
    assert type(found) is cls and found.type == cls.rule_name
    # As in pycaffe: every solver offers what SGDSolver does.
    assert isinstance(found, solvers.SGDSolver) and found.lr == 1


def test_the_class_wins_over_the_files_type(tmp_path):
    path = tmp_path / "solver.prototxt"
    path.write_text(SOLVER + 'type: "Adam"')
    assert solvers.NesterovSolver(path).type == "Nesterov"


def test_two_types_contradict(tmp_path):
    path = tmp_path / "solver.prototxt"
    path.write_text(SOLVER + 'type: "Adam" solver_type: SGD')
    with pytest.raises(ValueError, match="'solver_type' and 'type' are both set"):
        solvers.get_solver(path)
