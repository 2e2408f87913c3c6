"""Target `admm`: the thesis's equation (5.5) on the activations of one batch.

    min over x, z   max over u    N L(z) + <u, x - z> + beta/2 |x - z|^2

(beta/2 where the thesis writes beta.) Alternation t = 0, 1, … of a batch, over the exchange:

    net1:  sends x = conv3(p)                                                      up   x_t
    net2:  z <- argmin over z, by gradient steps (proximal.py)                     down z_t
    net1:  one weight update on its loss  <u, x - z> + beta/2 |x - z|^2, per sample
    both:  u <- u + beta (x - z), beta <- min(growth * beta, cap)

Both pieces at the cut know x and z, so the multipliers are never sent. After the first alternation
they are the gradient at z, and as x - z goes to zero they become the back-propagated errors (LeCun
1988).
"""

from __future__ import annotations

import numpy as np

from dualnet.config import Coupling

__all__ = ["Multipliers", "penalty"]

Blobs = dict[str, np.ndarray]


def penalty(coupling: Coupling, alternation: int) -> float:
    """beta of an alternation: growing by a factor (10 in the thesis) up to a limit."""
    return min(coupling.beta * coupling.beta_growth**alternation, coupling.beta_cap)


class Multipliers:
    """u, one number for each of a batch's activations; zero when a batch begins."""

    def __init__(self) -> None:
        self.values: Blobs = {}
        self._z: Blobs = {}
        #: |x - z|, and |beta (z_new - z_old)|, both root mean square per sample. In the first
        #: alternation of a batch x takes the place of z_old.
        self.primal_residual = self.dual_residual = 0.0

    def reset(self) -> None:
        """A new batch begins."""
        self.values, self._z = {}, {}

    def ascend(self, x: Blobs, z: Blobs, beta: float) -> None:
        """u <- u + beta (x - z), and the residuals.

        Args:
            x: net1's outputs that were sent, by name, (N, C, H, W) float32.
            z: net2's answer to them.
            beta: The penalty that z was computed with.
        """
        previous = self._z or x
        self.primal_residual = _length(x, z)
        self.dual_residual = beta * _length(z, previous)
        for name in x:
            step = np.float32(beta) * (x[name] - z[name])
            self.values[name] = self.values[name] + step if name in self.values else step
        self._z = {name: values.copy() for name, values in z.items()}

    def shifted(self, z: Blobs, beta: float) -> Blobs:
        """z - u/beta, which the loss compares x with, by completing the square:

            <u, x - z> + beta/2 |x - z|^2  =  beta/2 |x - (z - u/beta)|^2 - |u|^2 / (2 beta)

        The last term, as a mean over the samples, is `offset`.
        """
        return {
            name: z[name] - self.values[name] / np.float32(beta) if name in self.values else z[name]
            for name in z
        }

    def offset(self, beta: float) -> float:
        """-|u|^2 / (2 beta N): the term that does not depend on x; see `shifted`."""
        total, samples = 0.0, 1
        for values in self.values.values():
            flat = np.asarray(values, np.float64).reshape(-1)
            total, samples = total + float(flat @ flat), len(values)
        return -total / (2.0 * beta * samples)


def _length(a: Blobs, b: Blobs) -> float:
    squares, samples = 0.0, 1
    for name in a:
        difference = np.asarray(a[name] - b[name], np.float64).reshape(-1)
        squares, samples = squares + float(difference @ difference), len(a[name])
    return float(np.sqrt(squares / samples))
