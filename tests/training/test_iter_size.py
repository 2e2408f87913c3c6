"""`iter_size`: an update of several batches, whose gradients both pieces add up as Caffe does."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from dualnet.errors import ManifestMismatch, NeighbourDied, TrainingFailed
from dualnet.report.parse import parse_log
from dualnet.rundir import RunDir
from dualnet.training.loop.micro_batch import MicroBatch, micro_batches
from dualnet.training.loop.piece import PieceLoop
from dualnet.training.outcome.digest import digest
from dualnet.training.start import run as run_module
from dualnet.training.start.traffic import iteration_bytes
from tests.cut.both import train_like, train_pieces, train_single, train_whole_and_cut
from tests.cut.singles import CHAIN, DATA, SOLVER, classifier, conv, relu, write_single
from tests.training.pieces import load, make_nets, make_session, train_both
from tests.training.starting import train_one

MOMENTUM = SOLVER + "weight_decay: 0.01 iter_size: 3 "
STEPS = MOMENTUM.replace('lr_policy: "fixed"', 'lr_policy: "step" gamma: 0.5 stepsize: 2')
ADAM = MOMENTUM.replace("momentum: 0.9", 'type: "Adam" momentum: 0.9 momentum2: 0.99 delta: 1e-3')
NORM = "layer {{ name: '{0}' type: 'BatchNorm' bottom: '{1}' top: '{0}' }}\n"
#: Statistics below the cut, in the dual section and above; a frozen layer between.
NORMALISED = (
    DATA + conv("conv1", "data") + NORM.format("norm1", "conv1") + relu("relu1", "norm1")
    + conv("conv2", "norm1") + NORM.format("norm2", "conv2") + relu("relu2", "norm2", "relu2")
    + conv("conv3", "relu2", more="param { lr_mult: 0 }") + NORM.format("norm3", "conv3")
    + classifier("norm3")
)  # fmt: skip
LOSSES_APART = 1e-5


def cut(folder, text=CHAIN, at="conv1", dual="conv2", solver=MOMENTUM, **more):
    """Split a net with a solver; returns the path of the YAML."""
    path = write_single(folder, text, solver)
    from dualnet.cut.split import Request, split, write

    request = Request(path, [(at.split(), dual.split())], os.path.join(str(folder), "cut"), **more)
    result = split(request)
    write(request, result)
    return result.yaml


@pytest.mark.parametrize(
    ("text", "at", "dual", "solver", "settings"),
    [
        (CHAIN, "conv1", "conv2", MOMENTUM, ()),
        (CHAIN, "conv1", "conv2", STEPS, ("coupling.target=backprop",)),
        (CHAIN, "conv1", "conv2", ADAM, ("update.learning_rate=0.001",)),
        (CHAIN, "conv2", "conv3", MOMENTUM,
         ("update.rule=manual", "update.learning_rate=0.02", "coupling.tie=every")),
        (NORMALISED, "norm1", "conv2 norm2", MOMENTUM, ("update.learning_rate=0.001",)),
        (CHAIN, "conv1", "conv2", MOMENTUM, ("coupling.fidelity_interval=2",)),
    ],
)  # fmt: skip
def test_dual_training_equals_single_training(workdir, text, at, dual, solver, settings):
    yaml = cut(workdir, text, at, dual, solver)
    outcome = train_whole_and_cut(yaml, "run", 5, "train.batch_size=4", *settings)
    if "coupling.target=backprop" in settings:  # net1's copy of the dual layer has no part in it
        for found in (outcome.weights, outcome.steps):
            found.pop("net1 conv2")
    assert outcome.weight < 2e-5
    assert outcome.step < 1e-3
    # The loss shown is the mean over an iteration's batches.
    np.testing.assert_allclose(outcome.dual_losses, outcome.losses, rtol=1e-4)


def test_it_is_the_mean_over_one_large_batch(workdir):
    """The oracle: 4 batches of 4 in one update are one batch of 16, whatever the pieces are."""
    yaml = cut(workdir, solver=MOMENTUM.replace("iter_size: 3", "iter_size: 1"))
    reference = train_single(yaml, "single", 4, 4, "train.batch_size=16")
    yaml = cut(workdir / "four", solver=MOMENTUM.replace("iter_size: 3", "iter_size: 4"))
    outcome = train_like(reference, yaml, "four/run", 4, 4, "train.batch_size=4")
    assert outcome.weight < 1e-5
    np.testing.assert_allclose(outcome.dual_losses, reference.losses, rtol=1e-4)


@pytest.mark.parametrize("rule", [(), ("update.rule=manual", "update.learning_rate=0.01")])
def test_local_steps_repeat_the_whole_update(workdir, rule):
    """net2's further steps take all batches of the iteration, as they would one large batch."""
    settings = ("train.local_steps=3", "coupling.target=frozen", "coupling.tie=never", *rule,
                "train.max_iter=2", "train.test_interval=0", "train.display=1")  # fmt: skip
    losses = {}
    for parts in (1, 4):
        yaml = cut(workdir / str(parts), solver=SOLVER + f"iter_size: {parts}")
        train_pieces(yaml, f"{parts}/run", f"train.batch_size={16 // parts}", *settings)
        losses[parts] = [row.loss for row in parse_log(f"{parts}/run/net2.log").train]
    assert losses[1][1] < losses[1][0]
    np.testing.assert_allclose(losses[4], losses[1], rtol=LOSSES_APART)


def solvers_of(workdir, text="iter_size: 2"):
    """The digits run's solvers with more in them, as settings."""
    settings = []
    for name in ("net1", "net2"):
        path = workdir / f"{name}.prototxt"
        path.write_text((workdir / f"prototxt/digits/{name}_solver.prototxt").read_text() + text)
        settings.append(f"{name}.solver={path}")
    return settings


@pytest.mark.parametrize(
    "settings",
    [
        ("coupling.target=prox",), ("coupling.target=activation", "coupling.tie=never"),
        ("coupling.target=frozen",), ("coupling.target=gradient", "coupling.loss=relative"),
    ],
)  # fmt: skip
def test_every_batch_is_answered(workdir, settings):
    run = train_both("run", *settings, *solvers_of(workdir), "train.max_iter=2")
    stages = run.line.kinds()
    up = [(stage, number) for sender, stage, number in stages if stage.startswith("up")]
    assert up == [("up-00000", 0), ("up-00001", 0), ("up-00000", 1), ("up-00001", 1)]
    down = [(stage, number) for sender, stage, number in stages if stage.startswith("down")]
    assert down == [(stage.replace("up", "down"), number) for stage, number in up]
    assert [len(weights) for weights in run.weights.values()] == [3, 3]


def test_prox_learns_from_the_batches_alone(workdir):
    """Passes at other points must not be left in the gradients that are added up."""
    found = []
    for target in ("prox", "activation"):
        run = train_both(target, f"coupling.target={target}", "coupling.tie=start",
                         *solvers_of(workdir), "train.max_iter=1")  # fmt: skip
        found.append(run.weights["net2"][1])
    for name, values in found[0].items():
        np.testing.assert_allclose(values, found[1][name], rtol=1e-6, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("activations", ["keep", "recompute"])
def test_running_ahead_is_late_by_whole_updates(workdir, activations):
    """4 batches of 4 an update, one update ahead, are batches of 16 of which one is ahead."""
    losses = {}
    for parts in (1, 4):
        settings = ("train.schedule=overlapped", "train.display=1", "train.max_iter=6",
                    f"train.stale_activations={activations}", "train.test_interval=4",
                    "train.test_iter=1", "train.snapshot=0",
                    f"train.batch_size={16 // parts}")  # fmt: skip
        folder = str(workdir / f"{activations}{parts}")
        os.makedirs(folder)
        yaml = cut(folder, solver=SOLVER + f"iter_size: {parts}")
        train_pieces(yaml, f"{folder}/run", *settings)
        losses[parts] = [row.loss for row in parse_log(f"{folder}/run/net2.log").train]
        ups = [row.loss for row in parse_log(f"{folder}/run/net1.log").train]
        assert len(ups) == len(losses[parts]) == 6
    np.testing.assert_allclose(losses[4], losses[1], rtol=1e-4)


def test_display_average_and_tests_are_by_update(workdir):
    yaml = cut(workdir, solver=MOMENTUM + "average_loss: 2 ")
    settings = ("train.max_iter=5", "train.batch_size=4", "train.display=2",
                "train.test_interval=2", "train.test_iter=1", "train.snapshot=0")  # fmt: skip
    train_pieces(yaml, "run", *settings)
    for name in ("net1", "net2"):
        log = parse_log(f"run/{name}.log")
        assert [row.iteration for row in log.train] == [0, 2, 4]
    (rows,) = parse_log("run/net2.log").tests.values()
    assert [row.iteration for row in rows] == [0, 2, 4, 5]


def test_a_loss_that_is_not_finite_ends_it(workdir):
    yaml = cut(workdir)
    with pytest.raises((TrainingFailed, NeighbourDied), match="the loss is .* at iteration"):
        train_pieces(yaml, "run", "train.max_iter=40", "train.batch_size=4",
                     "update.learning_rate=1e6", "train.test_interval=0")  # fmt: skip


def test_pieces_must_agree(workdir):
    (one, two) = solvers_of(workdir)
    path = workdir / "net2.prototxt"
    path.write_text(path.read_text().replace("iter_size: 2", "iter_size: 3"))
    with pytest.raises(ManifestMismatch, match="iter_size: 2 in net1, 3 in net2"):
        train_both("run", one, two)


def test_reserved_room_is_that_of_all_batches(workdir):
    bytes_ = []
    for parts in (1, 3):
        nets = make_nets("net1", f"run{parts}", *solvers_of(workdir, f"iter_size: {parts}"))
        session = make_session(nets)
        session.log.close()
        bytes_.append(iteration_bytes(nets, session, nets.resolved.above))
    assert bytes_[1] == 3 * bytes_[0]


def test_clipping_takes_the_sum_as_single_training_does(workdir):
    """Caffe clips before it takes the mean; a bound that nothing reaches changes nothing."""
    yaml = cut(workdir, solver=MOMENTUM + "clip_gradients: 1e6 ")
    assert train_whole_and_cut(yaml, "run", 3, "train.batch_size=4").weight < 1e-5


# Restart: a checkpoint stands between two updates, and a crash between two batches repeats both.


class Crash(Exception):
    """What a test puts in the way of a piece."""


@pytest.mark.parametrize("schedule", ["alternating", "overlapped"])
def test_crashes_between_the_batches_change_nothing(workdir, monkeypatch, schedule):
    settings = [*solvers_of(workdir, "iter_size: 3"), "train.max_iter=6", "train.snapshot=2",
                "train.display=1", "train.test_interval=3", "train.test_iter=1",
                f"train.schedule={schedule}"]  # fmt: skip
    lock, real = threading.Lock(), run_module.Nets

    def build(config, resolved):
        with lock:  # Caffe's random numbers belong to the process
            return real(config, resolved)

    monkeypatch.setattr(run_module, "Nets", build)
    take_up, answers = PieceLoop.take_up, {}

    def run_both(run_dir, crashes):
        pending = set(crashes)

        def send_batch(loop, batch):
            point = (loop.nets.name, batch.number)
            if point[0] == "net1" and point in pending:
                pending.discard(point)
                raise Crash
            take_up(loop, batch)

        def arm(session):
            if session.nets.name != "net2":
                return
            seed = session.nets.seed

            def crash(number):
                if ("net2", number) in pending:
                    pending.discard(("net2", number))
                    raise Crash
                seed(number)

            session.nets.seed = crash

        monkeypatch.setattr(PieceLoop, "take_up", send_batch)
        errors = []

        def run(name):
            while True:
                try:
                    return train_one(load(*settings), RunDir(run_dir).piece(name), arm)
                except Crash:
                    continue
                except BaseException as error:
                    errors.append(error)
                    return None

        threads = [threading.Thread(target=run, args=(name,)) for name in ("net1", "net2")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        if errors:
            raise errors[0]
        assert not pending, "each crash must have happened"
        answers[run_dir] = digest(RunDir(run_dir))

    run_both("whole", [])
    run_both("crashed", [("net1", 4), ("net1", 9), ("net2", 7), ("net2", 14)])
    assert answers["crashed"] == answers["whole"]


def test_numbers_of_batches():
    batches = [batch for k in (3, 4) for batch in micro_batches(k, 2)]
    assert [batch.number for batch in batches] == [6, 7, 8, 9]
    assert [MicroBatch.numbered(n, 2) for n in (6, 7, 8, 9)] == batches
    assert [batch.is_last for batch in batches] == [False, True, False, True]
    assert MicroBatch(5).kind("up") == "up" and batches[1].kind("up") == "up-00001"
