"""Nets kept from earlier comparisons: what once differed, and what differs on purpose.

A file of the folder `known` is a prototxt with one layer a line. Its comments may hold settings:
`# phase: TEST`, `# passes: N`, `# backwards: N`, `# integers: INPUT BELOW`, and `# differs: ARRAY
…`, the arrays in which BVLC Caffe is known to be wrong and the engine is not: those of the layer at
fault, for what follows is compared from the same numbers.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.engine.differential.random_net import RandomNet
from tests.engine.differential.writer import Given

__all__ = ["KNOWN", "known_net"]

FOLDER = Path(__file__).with_name("known")
KNOWN = sorted(path.stem for path in FOLDER.glob("*.prototxt"))


def known_net(name: str) -> tuple[RandomNet, set[str]]:
    """A net and the names of the arrays that differ.

    Args:
        name: of the file, without suffix.
    """
    text = (FOLDER / f"{name}.prototxt").read_text()
    settings = dict(re.findall(r"^# (phase|passes|backwards|differs): (.+)$", text, re.M))
    below = {key: int(count) for key, count in re.findall(r"^# integers: (\S+) (\d+)$", text, re.M)}
    inputs = {}
    for key, dims in re.findall(r'name: "(\w+)" type: "Input".*shape \{(.*?)\}', text):
        shape = tuple(int(d) for d in re.findall(r"\d+", dims))
        inputs[key] = Given(shape, below.get(key, 0))
    net = RandomNet(
        seed=1,
        text=text,
        inputs=inputs,
        phase=int(settings.get("phase") == "TEST"),
        passes=int(settings.get("passes", 1)),
        backwards=int(settings.get("backwards", 1)),
    )
    return net, set(settings.get("differs", "").split())
