"""Solvers to compare with BVLC Caffe: one line each.

A case gives the settings of a solver, without its net and snapshot prefix, and the largest
difference from BVLC's weights after `STEPS` updates, relative to each parameter's largest value.
The two add in another order, so differences of 1e-7 arise in each step; how they grow is the rule's.
"""
# ruff: noqa: E501 (a table reads better with one case a line)

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CASES", "SAVE_AT", "STEPS", "Case"]

STEPS = 50
#: An even number of batches, so that MemoryData with two of them is at its start again.
SAVE_AT = 24


@dataclass(frozen=True)
class Case:
    """One solver to compare.

    Attributes:
        name: names the test.
        settings: fields of its prototxt.
        tolerance: see the module.
    """

    name: str
    settings: str
    tolerance: float = 2e-5


RULES = {
    "SGD": 'type: "SGD" base_lr: 0.05 momentum: 0.9 weight_decay: 0.01',
    "Nesterov": 'type: "Nesterov" base_lr: 0.05 momentum: 0.9 weight_decay: 0.01',
    "AdaGrad": 'type: "AdaGrad" base_lr: 0.05 weight_decay: 0.01',
    "RMSProp": 'type: "RMSProp" base_lr: 0.005 rms_decay: 0.9 delta: 1e-3 weight_decay: 0.01',
    "AdaDelta": 'type: "AdaDelta" base_lr: 1 momentum: 0.95 delta: 1e-6 weight_decay: 0.01',
    "Adam": 'type: "Adam" base_lr: 0.005 momentum: 0.9 momentum2: 0.99 weight_decay: 0.01',
}
POLICIES = {
    "fixed": 'lr_policy: "fixed"',
    "step": 'lr_policy: "step" gamma: 0.7 stepsize: 11',
    "exp": 'lr_policy: "exp" gamma: 0.97',
    "inv": 'lr_policy: "inv" gamma: 0.02 power: 0.75',
    "multistep": 'lr_policy: "multistep" gamma: 0.5 stepvalue: 10 stepvalue: 30 stepvalue: 31',
    "poly": 'lr_policy: "poly" power: 1.5 max_iter: 60',
    "sigmoid": 'lr_policy: "sigmoid" gamma: 0.2 stepsize: 25',
}
# Rules that divide by the root of squared gradients enlarge the rounding of gradients near zero: with
# a small delta the step is almost the gradient's sign, whatever its size.
LOOSE = {"RMSProp": 1e-4, "Adam": 1e-4, "AdaDelta": 1e-4, "AdaGrad": 1e-4}
FIXED = 'lr_policy: "fixed"'

CASES = [
    *(
        Case(f"{rule}_{policy}", f"{settings} {schedule}", LOOSE.get(rule, 2e-5))
        for rule, settings in RULES.items()
        for policy, schedule in POLICIES.items()
    ),
    *(
        Case(f"{rule}_{name}", f"{settings} {FIXED} {extra}", LOOSE.get(rule, 2e-5))
        for rule, settings in RULES.items()
        for name, extra in (
            ("l1", 'regularization_type: "L1"'),
            ("clip", "clip_gradients: 0.3"),
            ("iter_size", "iter_size: 2"),
            ("hdf5", "snapshot_format: HDF5"),
        )
    ),
    Case("sgd_plain", f"base_lr: 0.05 {FIXED}"),
    Case("sgd_clip_iter_size_l1", f'base_lr: 0.05 momentum: 0.5 weight_decay: 0.02 {FIXED} clip_gradients: 0.5 iter_size: 2 regularization_type: "L1"'),
    Case("nesterov_momentum_0", f'type: "Nesterov" base_lr: 0.05 {FIXED}'),
    Case("adagrad_delta", f'type: "AdaGrad" base_lr: 0.05 delta: 0.01 {FIXED}'),
    Case("rmsprop_default", f'type: "RMSProp" base_lr: 0.001 {FIXED}', 1e-4),
    Case("adadelta_lr_0.1", f'type: "AdaDelta" base_lr: 0.1 momentum: 0.9 delta: 1e-4 {FIXED}', 1e-4),
    Case("adam_default", f'type: "Adam" base_lr: 0.001 momentum: 0.9 {FIXED}', 1e-4),
    Case("adam_delta", f'type: "Adam" base_lr: 0.005 momentum: 0 delta: 0.1 {FIXED}'),
]  # fmt: skip
