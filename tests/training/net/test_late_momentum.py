"""Momentum of late gradients: where it is stable, and that Caffe's solver makes it."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.errors import ConfigError
from dualnet.training.net.driver import NetDriver
from dualnet.training.net.late_momentum import LateMomentum, period_of
from tests.training.pieces import make_nets, train_both, weights_of

AHEAD = ("train.schedule=overlapped", "train.batch_size=8", "train.max_iter=1000")


def largest_root(step: float, momentum: float, staleness: int, period: int) -> float:
    """Of (z - 1)(z^P - m) z^S + x z^P, beside the one at 1 for x = 0."""
    filtered = np.zeros(period + 1)
    filtered[0], filtered[-1] = 1, -momentum
    polynomial = np.polymul(np.polymul([1, -1], filtered), [1] + [0] * staleness)
    polynomial[len(polynomial) - 1 - period] += step
    return float(np.abs(np.roots(polynomial)).max())


@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("staleness", [0, 1, 2, 3, 4])
def test_stable_up_to_what_late_plain_descent_bears_times_one_plus_momentum(momentum, staleness):
    limit = 2 * (1 + momentum) * np.sin(np.pi / (4 * staleness + 2))
    period = period_of(staleness)
    for share in np.linspace(0.02, 0.99, 40):
        assert largest_root(share * limit, momentum, staleness, period) < 1
    assert largest_root(1.01 * limit, momentum, staleness, period) > 1


def test_one_momentum_bears_little_of_a_late_gradient():
    assert largest_root(0.099, 0.9, 1, 1) < 1 < largest_root(0.101, 0.9, 1, 1)


class Quadratic:
    """A net with one parameter, and Caffe's update of it."""

    def __init__(self, momentum: float, rate: float) -> None:
        self.w, self.momentum, self.lr = np.array([1.0], np.float32), momentum, rate
        self.diff, self.history = np.zeros(1, np.float32), np.zeros(1, np.float32)

    def parameter_diffs(self):
        return {"ip.0": self.diff.copy()}

    def set_parameter_diffs(self, values):
        self.diff = values["ip.0"]

    def rate(self):
        return self.lr

    def apply(self, holder):
        self.history = self.momentum * self.history + self.lr * self.diff
        self.w = self.w - self.history


@pytest.mark.parametrize(("staleness", "rate"), [(1, 1.5), (2, 1.0)])
def test_late_descent_converges_where_one_momentum_diverges(staleness, rate):
    ends = []
    for is_interleaved in (True, False):
        net = Quadratic(0.9, rate)
        rule = LateMomentum(net, net, 0.9, staleness) if is_interleaved else net
        late = [net.w] * (staleness + 1)
        for _ in range(300):
            late = [*late[1:], net.w]
            net.diff = late[0].copy()
            rule.apply(net)
            if abs(net.w[0]) > 1e6:
                break
        ends.append(abs(float(net.w[0])))
    assert ends[0] < 0.1 and ends[1] > 1e6


def test_caffe_makes_the_interleaved_momenta(workdir):
    nets = make_nets(
        "net1", "run", *AHEAD, "train.staleness=1", "net1.learning_rate=0.01", "seed=3"
    )
    assert nets.resolved.is_late
    settings = nets.resolved.solver
    random = np.random.RandomState(3)
    # Weight decay has Caffe's own momentum: it is not late.
    names = list(weights_of(nets))
    late = [dict.fromkeys(names, 0.0) for _ in range(3)]
    decay = dict.fromkeys(names, 0.0)
    for iteration in range(8):
        before = weights_of(nets)
        rate = 0.01 * (1 - iteration / 1000)
        gradients = {n: random.randn(*w.shape).astype(np.float32) for n, w in before.items()}
        nets.train.set_parameter_diffs(gradients)
        nets.update()
        for name, after in weights_of(nets).items():
            late[iteration % 3][name] = (
                settings.momentum * late[iteration % 3][name] + rate * gradients[name]
            )
            decay[name] = (
                settings.momentum * decay[name] + rate * settings.weight_decay * before[name]
            )
            expected = before[name] - late[iteration % 3][name] - decay[name]
            # The learning rate falls by a thousandth from one update to the next.
            np.testing.assert_allclose(after, expected, atol=2e-4, err_msg=name)


@pytest.mark.parametrize("activations", ["keep", "recompute"])
def test_gradients_are_fetched_once_and_handed_over_once(workdir, monkeypatch, activations):
    # On a GPU each of the two crosses the bus.
    moves = []

    def note(name):
        real = getattr(NetDriver, name)

        def noted(driver, *values):
            moves.append((name, "net1" in driver.path))
            return real(driver, *values)

        monkeypatch.setattr(NetDriver, name, noted)

    note("parameter_diffs")
    note("set_parameter_diffs")
    run = train_both(
        "run", *AHEAD, "train.max_iter=5", "train.staleness=2", "liveness.interval=0",
        f"train.stale_activations={activations}",
    )  # fmt: skip
    assert run.nets["net1"].resolved.is_late
    assert [name for name, is_mine in moves if is_mine] == [
        "parameter_diffs", "set_parameter_diffs"
    ] * 5  # fmt: skip


def test_state_is_all_that_another_one_needs():
    random = np.random.RandomState(1)
    gradients = random.randn(12, 1).astype(np.float32)

    def run(first, rule, net):
        for gradient in first:
            net.diff = gradient.copy()
            rule.apply(net)

    whole = Quadratic(0.9, 0.1)
    run(gradients, LateMomentum(whole, whole, 0.9, 2), whole)
    for stop in (1, 3, 7):
        net = Quadratic(0.9, 0.1)
        rule = LateMomentum(net, net, 0.9, 2)
        run(gradients[:stop], rule, net)
        other = LateMomentum(net, net, 0.9, 2)
        other.restore({name: values.copy() for name, values in rule.state().items()})
        run(gradients[stop:], other, net)
        np.testing.assert_array_equal(net.w, whole.w)


def test_only_late_momentum_is_interleaved(workdir):
    for name, *overrides in (
        ("net2", "train.staleness=1"),
        ("net1", "train.staleness=0"),
        ("net1", "train.stale_momentum=solver"),
        ("net1", "update.rule=manual"),
    ):
        nets = make_nets(name, f"run-{name}-{overrides[0]}", *AHEAD, *overrides)
        assert not nets.resolved.is_late and not nets.update_rule.state()


def test_clipped_gradients_are_refused(workdir):
    text = (workdir / "prototxt/digits/net1_solver.prototxt").read_text()
    (workdir / "clipped.prototxt").write_text(text + "clip_gradients: 35\n")
    with pytest.raises(ConfigError, match=r"clipped.prototxt: clip_gradients: 35 .*=solver"):
        make_nets("net1", "run", *AHEAD, "net1.solver=clipped.prototxt")
    make_nets("net1", "run", *AHEAD, "net1.solver=clipped.prototxt", "train.stale_momentum=solver")
