"""The solver: training loop, updates, tests, snapshots (Caffe `src/caffe/solver.cpp`)."""

from __future__ import annotations

import math
import os
import time
from typing import Any, Callable

import torch

from dualnet.engine import log
from dualnet.engine.core import random
from dualnet.engine.core.call import file_name, integer
from dualnet.engine.core.storage import sync_host_arrays
from dualnet.engine.errors import SolverError
from dualnet.engine.formats import prototxt, snapshot
from dualnet.engine.formats.prototxt import Path
from dualnet.engine.net.net import Net
from dualnet.engine.proto import caffe_pb2
from dualnet.engine.solvers.lr_policy import check_policy, learning_rate
from dualnet.engine.solvers.parallel import solver_rank
from dualnet.engine.solvers.report import LossAverage, output_lines, output_values
from dualnet.engine.solvers.rule import UpdateRule, rule_class
from dualnet.engine.solvers.solver_nets import make_test_nets, make_train_net
from dualnet.engine.solvers.update import update

__all__ = ["Solver"]


class Solver:
    """Trains a net, and tests it on others that share its weights.

    Args:
        solver_file: the solver's prototxt.

    Attributes:
        param: the settings; `base_lr` and `max_iter` may be changed while training.
        net: the net that learns.
        test_nets: nets that share its weights.
        iter: completed updates.
    """

    #: The update rule; None takes it from the file's `type`.
    rule_name: str | None = None

    def __init__(self, solver_file: Path) -> None:
        file_name(solver_file, f"{type(self).__name__}(solver_file)", "solver_file")
        self._start(prototxt.read_solver(solver_file), os.fspath(solver_file))

    @classmethod
    def from_message(cls, param: caffe_pb2.SolverParameter, name: str) -> Solver:
        """Builds a solver from settings already read.

        Args:
            param: the settings, which the solver keeps.
            name: where they come from, for messages.
        """
        solver = cls.__new__(cls)
        solver._start(param, name)
        return solver

    def _start(self, param: caffe_pb2.SolverParameter, name: str) -> None:
        if self.rule_name is not None:
            param.type = self.rule_name
        try:
            self._build(param)
        except SolverError as error:
            raise SolverError(f"{name}: {error}") from error

    def _build(self, param: caffe_pb2.SolverParameter) -> None:
        rule = rule_class(param.type)
        if param.iter_size < 1:
            raise SolverError(f"iter_size must be 1 or more, it is {param.iter_size}")
        if param.average_loss < 1:
            raise SolverError(f"average_loss must be 1 or more, it is {param.average_loss}")
        check_policy(param)
        snapshot.check_writable(param)
        if param.random_seed >= 0:
            # Before the nets are built, whose fillers draw from the generator. The rank makes
            # solvers that train together differ.
            random.set_random_seed(param.random_seed + solver_rank())
        self.param = param
        self._net = make_train_net(param)
        self._test_nets = make_test_nets(param)
        for net in self._test_nets:
            net._debug_info = param.debug_info
        structure = self._net._structure
        self._learnable = [structure.params[number] for number in structure.learnable]
        self._rule: UpdateRule = rule(param, [p.blob.dims for p in self._learnable])
        self._iteration = 0
        self._current_step = 0
        self._callbacks: list[tuple[Callable[[], Any], Callable[[], Any]]] = []
        self._losses = LossAverage()
        self._stop_requested = False
        self._requested_action: Callable[[], str] = lambda: "none"
        #: Whether `step` raises when the loss is NaN or infinite; Caffe trains on.
        self.stop_on_nan = False
        self._display_start_s = time.monotonic()
        self._displayed = 0

    @property
    def net(self) -> Net:
        """The net that learns."""
        return self._net

    @property
    def test_nets(self) -> list[Net]:
        """The nets that it is tested on."""
        return self._test_nets

    @property
    def iter(self) -> int:
        """Completed updates; `restore` and updates change it."""
        return self._iteration

    @property
    def lr(self) -> float:
        """The learning rate of the next update.

        Reading it brings the count of passed step values up to date, which a snapshot stores.
        Reading it again changes nothing more.
        """
        rate, self._current_step = learning_rate(self.param, self._iteration, self._current_step)
        return rate

    @property
    def type(self) -> str:
        """The update rule's name."""
        return self._rule.name

    def add_callback(
        self, on_start: Callable[[], Any], on_gradients_ready: Callable[[], Any]
    ) -> None:
        """Registers two functions that `step` calls in every iteration.

        Args:
            on_start: called before the passes.
            on_gradients_ready: called before the update.
        """
        self._callbacks.append((on_start, on_gradients_ready))

    def share_weights(self, net: Net) -> None:
        """Lets another net use this solver's weights, by layer name; see `Net.share_with`."""
        net.share_with(self._net)

    # Training

    def solve(self, resume_file: Path | None = None) -> None:
        """Trains to `max_iter`, with displays, tests and snapshots as the settings say.

        Args:
            resume_file: a solverstate to start from.

        Raises:
            CaffeError: see `restore` and `step`.
        """
        log.info(f"Solving {self._net.name}")
        log.info(f"Learning Rate Policy: {self.param.lr_policy}")
        self._stop_requested = False
        if resume_file is not None:
            self.restore(resume_file)
        self.step(self.param.max_iter - self._iteration)
        every = self.param.snapshot
        if self.param.snapshot_after_train and (not every or self._iteration % every):
            self.snapshot()
        if self._stop_requested:
            log.info("Optimization stopped early.")
            return
        if self.param.display and self._iteration % self.param.display == 0:
            loss = self._net._forward(0, len(self._net.layers) - 1)
            self._losses.add(loss, self.param.average_loss)
            log.info(f"Iteration {self._iteration}, loss = {self._losses.value():g}")
        self._test_if_due()
        log.info("Optimization Done.")

    def step(self, iterations: int) -> None:
        """Trains for so many iterations, or fewer if a stop is requested.

        Each iteration tests if that is due, runs `iter_size` passes, updates the weights, and takes
        a snapshot if that is due. A test therefore comes before the update: what the log shows
        under "Iteration N" is the net after N updates.

        Raises:
            SolverError: the loss is NaN or infinite, and `stop_on_nan` is set.
            DataError: a snapshot cannot be written.
        """
        stop = self._iteration + integer(iterations, "Solver.step(iterations)", "iterations")
        param = self.param
        self._losses.clear()  # as in Caffe, each call restarts the average
        self._display_start_s, self._displayed = time.monotonic(), self._iteration
        while self._iteration < stop:
            self._net.clear_param_diffs()
            if self._iteration > 0 or param.test_initialization:
                self._test_if_due()
                if self._stop_requested:
                    break
            for on_start, _ in self._callbacks:
                on_start()
            display = param.display and self._iteration % param.display == 0
            self._net._debug_info = bool(display and param.debug_info)
            loss = sum(self._net._forward_backward() for _ in range(param.iter_size))
            self._losses.add(loss / param.iter_size, param.average_loss)
            if self.stop_on_nan and not math.isfinite(float(loss)):
                raise SolverError(
                    f"the loss is {float(loss):g} in iteration {self._iteration}, at learning rate "
                    f"{self.lr:g}; lower base_lr or set clip_gradients"
                )
            if display:
                self._display()
            for _, on_gradients_ready in self._callbacks:
                on_gradients_ready()
            self.apply_update()
            action = self._requested_action()
            due = param.snapshot and self._iteration % param.snapshot == 0
            if action == "snapshot" or (due and solver_rank() == 0):
                self.snapshot()
            if action == "stop":
                self._stop_requested = True
            if self._stop_requested:
                break

    def set_action_function(self, requested_action: Callable[[], str]) -> None:
        """Registers a function that is asked once an iteration what to do.

        `dualnet.engine.command.signals.SignalActions` is one; tests ask it for each batch.

        Args:
            requested_action: returns `stop`, `snapshot` or `none`.
        """
        self._requested_action = requested_action

    def apply_update(self) -> None:
        """Updates the weights from their gradients and counts one iteration.

        Clears nothing: call `net.clear_param_diffs` before the next gradients.
        """
        rate = self.lr
        if self.param.display and self._iteration % self.param.display == 0:
            log.info(f"Iteration {self._iteration}, lr = {rate:g}")
        with torch.no_grad(), sync_host_arrays():
            update(self.param, self._learnable, self._rule, rate, self._iteration)
        self._iteration += 1

    # Reporting

    def _display(self) -> None:
        now = time.monotonic()
        lapse_s = now - self._display_start_s
        per_s = (self._iteration - self._displayed) / (lapse_s or 1.0)
        log.info(
            f"Iteration {self._iteration} ({per_s:g} iter/s, {lapse_s:g}s/{self.param.display} "
            f"iters), loss = {self._losses.value():g}"
        )
        self._display_start_s, self._displayed = now, self._iteration
        structure = self._net._structure
        for line in output_lines("Train", structure, output_values(structure)):
            log.info(line)

    def _test_if_due(self) -> None:
        due = self.param.test_interval and self._iteration % self.param.test_interval == 0
        if due and solver_rank() == 0:  # several solvers test once
            self.test_all()

    def test_all(self) -> None:
        """Tests on every test net."""
        for number in range(len(self._test_nets)):
            if not self._stop_requested:
                self._test(number)

    def _test(self, number: int) -> None:
        log.info(f"Iteration {self._iteration}, Testing net (#{number})")
        net = self._test_nets[number]
        net.share_with(self._net)
        count = self.param.test_iter[number]
        last = len(net.layers) - 1
        loss = 0.0
        sums: list[list[float]] = []
        for i in range(count):
            action = self._requested_action()
            if action == "snapshot":
                self.snapshot()
            elif action == "stop":
                self._stop_requested = True
                log.info("Test interrupted.")
                return
            loss += net._forward(0, last)
            values = output_values(net._structure)
            if i == 0:
                sums = values
            else:
                sums = [[a + b for a, b in zip(x, y)] for x, y in zip(sums, values)]
        if self.param.test_compute_loss:
            log.info(f"Test loss: {loss / count:g}")
        means = [[value / count for value in column] for column in sums]
        for line in output_lines("Test", net._structure, means):
            log.info(line)

    # Snapshots

    def snapshot(self) -> None:
        """Writes the weights and the solver's state under `snapshot_prefix`.

        Raises:
            DataError: a file cannot be written.
        """
        model = snapshot.filename(self.param, self._iteration, ".caffemodel")
        kind = "HDF5 file" if model.endswith(".h5") else "binary proto file"
        log.info(f"Snapshotting to {kind} {model}")
        save = self._net.save_hdf5 if model.endswith(".h5") else self._net.save
        save(model, self.param.snapshot_diff)
        state = snapshot.filename(self.param, self._iteration, ".solverstate")
        log.info(f"Snapshotting solver state to {kind} {state}")
        values = snapshot.State(self._iteration, self._current_step, model)
        snapshot.write_state(state, values, self._rule.history)

    def restore(self, state_file: Path) -> None:
        """Continues from a solverstate, with the weights that it names.

        Raises:
            WeightsError: it was written by another solver type or net, or is damaged.
            PrototxtError: it, or the file of weights, is missing or of another kind.
        """
        file_name(state_file, "Solver.restore(state_file)", "state_file")
        state = snapshot.read_state(state_file, self._rule.history)
        if state.learned_net:
            self._net.copy_from(snapshot.weights_path(state_file, state.learned_net))
        self._iteration = state.iteration
        self._current_step = state.current_step
