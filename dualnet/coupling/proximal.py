"""The point that net2 would like x to be: a minimum of its loss near x.

    z = argmin  N L(z) + <u, x - z> + rho/2 |z - x|^2          (u = 0 for target `prox`)

by gradient steps of length tau/rho from where it starts:

    z <- z - tau/rho (g(z) - u - rho (x - z)),       g(z) = N dL/dz

At the minimum u + rho (x - z) = g(z): the pull on x is the gradient at z, so it differs from the
back-propagated gradient g(x) by O(1/rho) (an implicit instead of an explicit gradient step). With
tau = 1 the steps are z <- x + (u - g(z))/rho, which contract while the curvature of L is below rho.
"""

from __future__ import annotations

from typing import Callable

import numpy as np

__all__ = ["proximal_point"]

Blobs = dict[str, np.ndarray]


def proximal_point(
    gradient: Callable[[Blobs], Blobs],
    x: Blobs,
    start: Blobs,
    multipliers: Blobs,
    rho: float,
    steps: int,
    rate: float = 1.0,
) -> Blobs:
    """Make `steps` gradient steps towards the minimum.

    They converge if tau is at most 1 and the curvature of N L is below rho. Whether they do is not
    checked: the result is whatever the last step gives.

    Args:
        gradient: Gives g at a point, per sample: N times the gradient of the mean loss.
        x: net1's outputs by name, (N, C, H, W) float32.
        start: Where to begin, of x's names and shapes; not changed.
        multipliers: u, of x's shapes; empty for none.
        rho: The penalty.
        steps: Gradient steps, each with one evaluation of `gradient`.
        rate: tau.

    Returns:
        z, of x's names and shapes.
    """
    z = start
    for _ in range(steps):
        g = gradient(z)
        z = {
            name: z[name] - np.float32(rate / rho) * _slope(name, z, g, x, multipliers, rho)
            for name in x
        }
    return z


def _slope(name: str, z: Blobs, g: Blobs, x: Blobs, multipliers: Blobs, rho: float) -> np.ndarray:
    slope = g[name] - np.float32(rho) * (x[name] - z[name])
    return np.asarray(slope - multipliers[name] if name in multipliers else slope)
