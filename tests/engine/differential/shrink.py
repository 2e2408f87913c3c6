"""Makes a net that differs smaller, as long as it still differs."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from dualnet.engine.errors import CaffeError
from tests.engine.differential.compare import Rejected, compare
from tests.engine.differential.judge import Judge, JudgeDied
from tests.engine.differential.random_net import RandomNet

__all__ = ["shrink"]


def shrink(judge: Judge, folder: Path, net: RandomNet) -> RandomNet:
    """Drops layers, the last first, and settings that do not matter.

    Args:
        judge: BVLC Caffe.
        folder: for the net's files.
        net: one that differs.
    """
    net = _without(net, dataclasses.replace(net, passes=1), judge, folder)
    net = _without(net, dataclasses.replace(net, backwards=1), judge, folder)
    before = None
    while before != net.text:
        before = net.text
        for line in reversed(before.splitlines()):
            lines = [other for other in net.text.splitlines() if other != line]
            net = _without(net, _with_lines(net, lines), judge, folder)
        for pattern in (r" loss_weight: \S+", r" propagate_down: \w+", r" param \{[^}]*\}"):
            for found in sorted(set(re.findall(pattern, net.text))):
                lines = net.text.replace(found, "").splitlines()
                net = _without(net, _with_lines(net, lines), judge, folder)
    return net


def _with_lines(net: RandomNet, lines: list[str]) -> RandomNet:
    text = "\n".join(lines) + "\n"
    inputs = {name: given for name, given in net.inputs.items() if f'name: "{name}"' in text}
    return dataclasses.replace(net, text=text, inputs=inputs)


def _without(net: RandomNet, smaller: RandomNet, judge: Judge, folder: Path) -> RandomNet:
    """The smaller net if it is one that still differs."""
    try:
        differs = bool(compare(judge, folder, smaller).mismatches)
    except (CaffeError, JudgeDied, Rejected):
        differs = False
    return smaller if differs else net
