"""What net2 sends back as conv3p, and what net1 makes of it: the coupling rules.

Notation, as in the thesis: N samples a batch, p = pool2, x = conv3(p) in net1 and y = conv3p(p) in
net2, both (N, C, H, W) float32; L the mean cross-entropy that net2 computes from y; g = N dL/dy the
gradient per sample, of y's shape.

| target       | value z sent                                        | weight of net1's loss |
|--------------|-----------------------------------------------------|-----------------------|
| `activation` | y of the forward pass, as in the thesis             |                       |
| `updated`    | y recomputed after net2's weight update             |                       |
| `gradient`   | y - gamma g                                         | 1/gamma               |
| `prox`       | argmin over z of N L(z) + rho/2 |z - x|^2           | rho                   |
| `admm`       | the same with multipliers (5.5), see admm.py        | beta                  |
| `backprop`   | dL/dp: plain model parallelism, no dual layer       | (no loss)             |
| `frozen`     | nothing: net1 keeps its random weights              | (no loss)             |

The weight is the one under which net1's gradient has the length of the back-propagated one.

With target `gradient`, Caffe's EuclideanLoss weighted 1/gamma and equal weights in conv3 and
conv3p at the start (tie `start`), net1 gets

    d/dx 1/(2 gamma N) |x - (y - gamma g)|^2 = (x - y)/(gamma N) + dL/dy

and as x = y stays true (both copies get the same gradient), that is the back-propagated gradient:
dual training is single training. gamma cancels, but for rounding: y - gamma g keeps little of g
when gamma g is far below y, and the pull (x - y)/(gamma N) of a small gamma makes the rounding
error of x - y grow when the learning rate exceeds 2 gamma over the largest eigenvalue of p's Gram
matrix. A gamma of 1000 is safe on both sides for the shipped nets.

With loss `relative` (dualnet/layers.py), gamma counts in units of s and rho in units of 1/s, where
s is the mean of |y_n|^2 over the batch: that cancels the s by which the loss divides.
"""

from dualnet.coupling.admm import Multipliers, penalty
from dualnet.coupling.proximal import proximal_point
from dualnet.coupling.targets import TargetMaker, default_loss_weight, make_target, unit

__all__ = [
    "Multipliers",
    "TargetMaker",
    "default_loss_weight",
    "make_target",
    "penalty",
    "proximal_point",
    "unit",
]
