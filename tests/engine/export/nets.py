"""Small nets to export, and what the engine makes of the same inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dualnet.engine.core.random import set_random_seed
from dualnet.engine.formats import prototxt
from dualnet.engine.net.net import Net
from dualnet.engine.proto import caffe_pb2

__all__ = ["engine_outputs", "net_of", "single_layer"]


def net_of(text: str, seed: int = 3) -> Net:
    """A net in phase TEST, with what its fillers make of a seed."""
    message = prototxt.parse_text(text, caffe_pb2.NetParameter, "test")
    message.state.phase = caffe_pb2.TEST
    set_random_seed(seed)
    return Net.from_message(message)


def single_layer(text: str, shapes: Sequence[Sequence[int]], tops: int = 1, name: str = "l") -> str:
    """Input layers and one layer: `text` is the inside of its message.

    Its bottoms are NAMEx0, NAMEx1, …, its tops NAMEy0, …; without NAME if that is `l`.
    """
    prefix = "" if name == "l" else name
    inputs = "".join(
        f'layer {{ name: "{prefix}x{i}" type: "Input" top: "{prefix}x{i}" input_param {{ shape {{ '
        f"{' '.join(f'dim: {n}' for n in shape)} }} }} }}\n"
        for i, shape in enumerate(shapes)
    )
    bottoms = " ".join(f'bottom: "{prefix}x{i}"' for i in range(len(shapes)))
    made = " ".join(f'top: "{prefix}y{i}"' for i in range(tops))
    return f'{inputs}layer {{ name: "{name}" {bottoms} {made} {text} }}\n'


def engine_outputs(
    net: Net, inputs: Sequence[np.ndarray], outputs: Sequence[str]
) -> Mapping[str, np.ndarray]:
    """A forward pass."""
    for name, values in zip(net.inputs, inputs):
        net.blobs[name].reshape(*values.shape)
        net.blobs[name].data[...] = values
    net.forward()
    return {name: net.blobs[name].data.copy() for name in outputs}
