"""The training loss in the log: averaged, and shown at the iterations that are asked for."""

from __future__ import annotations

import math
from collections import deque
from typing import Callable, Optional

import numpy as np

from dualnet.errors import TrainingFailed
from dualnet.report.log import CaffeLog
from dualnet.training.net.driver import Output
from dualnet.training.net.nets import Nets

__all__ = ["TrainingLines"]


class TrainingLines:
    """One piece's losses, and the lines that they get.

    Args:
        nets: What is trained.
        log: Where the lines go.

    Attributes:
        loss: The latest, averaged over the last `average_loss` iterations; NaN before the first.
        losses: The latest ones, oldest first, as many as the average or the convergence needs.
    """

    def __init__(self, nets: Nets, log: CaffeLog) -> None:
        self.nets, self.log = nets, log
        self.display = nets.resolved.display
        self.stop_on_nan = nets.config.train.stop_on_nan
        self.loss = float("nan")
        self._average = max(1, nets.resolved.solver.average_loss)
        self.losses: deque[float] = deque(
            maxlen=max(self._average, 2 * nets.config.convergence.window)
        )
        #: Whether the present iteration has a line in the log.
        self._is_shown = False

    def show(
        self,
        iteration: int,
        loss: float,
        extra: Optional[Callable[[], dict[str, float]]] = None,
        is_due: bool = False,
        outputs: Optional[Callable[[], list[Output]]] = None,
    ) -> None:
        """Log the loss before the update, averaged as `average_loss` says.

        Args:
            iteration: Updates done before it.
            loss: Of this iteration.
            extra: Gives further series by name; asked only when there is a line to write.
            is_due: Write a line even where train.display does not ask for one.
            outputs: Gives those of the net that holds the batch, default the solver's net; asked
                only when there is a line to write.

        Raises:
            TrainingFailed: The loss is NaN or infinite, and the config does not allow that.
        """
        self.losses.append(loss)
        self.loss = float(np.mean(list(self.losses)[-self._average :]))
        self._is_shown = is_due or bool(self.display and iteration % self.display == 0)
        if self._is_shown:
            found = (outputs or self.nets.train.outputs)()
            self.log.training(
                iteration,
                self.loss,
                {**{name: values for name, values, _ in found}, **(extra() if extra else {})},
                learning_rate=self.nets.update_rule.rate(),
                loss_weights={name: weight for name, _, weight in found},
            )
        if self.stop_on_nan and not math.isfinite(loss):
            raise TrainingFailed(
                f"{self.nets.name}: the loss is {loss} at iteration {iteration}, at learning rate "
                f"{self.nets.update_rule.rate():g}; lower the learning rate, or set "
                "train.stop_on_nan=false to train on"
            )

    def show_series(self, series: dict[str, float]) -> None:
        """Log further values of the present iteration, if it has a line in the log."""
        if self._is_shown:
            self.log.series(series)
