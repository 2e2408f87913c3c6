"""One net layer by layer: the engine computes each layer from what BVLC Caffe had there.

Over a whole net a difference in the last bit can grow: two values of a pooling window, or a value
and ReLU's zero, may be closer than rounding, and the gradient then takes another way. Where every
layer begins with BVLC's numbers, no rounding is handed on, both make the same choice, and what
differs is the layer's own.
"""

from __future__ import annotations

import numpy as np

from dualnet.engine.net.net import Net

__all__ = ["run_stepwise"]


def run_stepwise(
    net: Net, given: dict[str, np.ndarray], theirs: dict[str, np.ndarray], wanted: set[str]
) -> dict[str, np.ndarray]:
    """Runs the engine's net forward and backward once, each layer from BVLC's numbers.

    Args:
        net: the net, with BVLC's parameters.
        given: "data:BLOB" for inputs and "diff:BLOB" for outputs.
        theirs: BVLC's arrays, by the names of `compare.run_engine`.
        wanted: the blobs whose diff a layer computes.

    Returns:
        What each layer computed, by the same names, for all blobs and gradients of parameters.
    """
    nodes, names = net._structure.nodes, net._structure.blob_names
    found: dict[str, np.ndarray] = {}
    # A layer in place is not the only one to write its blob: the last in each direction counts.
    last_writer = {names[i]: at for at, node in enumerate(nodes) for i in node.top_ids}
    first_reader = {
        names[i]: at for at, node in reversed(list(enumerate(nodes))) for i in node.bottom_ids
    }

    def forward(at: int) -> None:
        for name in {names[i] for i in nodes[at].top_ids} & set(net.blobs):
            if last_writer[name] == at:
                blob = net.blobs[name]
                found[f"data:{name}"] = blob.data.copy()
                blob.data[...] = theirs[f"data:{name}"]

    def backward(at: int) -> None:
        for name in {names[i] for i in nodes[at].bottom_ids} & wanted:
            if first_reader[name] == at:
                blob = net.blobs[name]
                found[f"diff:{name}"] = blob.diff.copy()
                blob.diff[...] = theirs[f"diff:{name}"]

    net.after_forward(forward)
    net.after_backward(backward)
    for key, values in given.items():
        if key.startswith("data:"):
            net.blobs[key[5:]].data[...] = values
    net.forward()
    net.clear_param_diffs()
    for key, values in given.items():
        if key.startswith("diff:"):
            net.blobs[key[5:]].diff[...] = values
    net.backward()
    for name, blobs in net.params.items():
        for index, blob in enumerate(blobs):
            found[f"grad:{name}:{index}"] = blob.diff.copy()
    return found
