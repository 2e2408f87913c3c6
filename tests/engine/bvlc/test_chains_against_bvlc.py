"""Whole nets of recurrent and reshaping layers against BVLC Caffe, several forward passes each.

Here the layers that Caffe refuses to combine with force_backward get their gradients from a loss,
recurrent states are carried from pass to pass, and layers that share memory meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

import numpy as np
import pytest

from dualnet.engine.core import random
from dualnet.engine.net.net import Net
from tests.engine.bvlc.jobs import run_jobs

pytestmark = pytest.mark.bvlc

FILL = 'weight_filler { type: "gaussian" std: 0.5 } bias_filler { type: "gaussian" }'
LOSS = """
layer { name: "ip" type: "InnerProduct" bottom: "top" top: "ip"
  inner_product_param { num_output: 1 axis: -1 weight_filler { type: "gaussian" } } }
layer { name: "loss" type: "Reduction" bottom: "ip" top: "loss" loss_weight: 0.5
  reduction_param { operation: SUMSQ } }
"""


@dataclass(frozen=True)
class Chain:
    """A net to compare.

    Attributes:
        text: its layers but for the Input layers.
        inputs: each input's shape and its values: "normal", "uniform", or integers below a number.
        phase: 0 TRAIN, 1 TEST.
        passes: how many times to run it forward before it runs backward.
    """

    text: str
    inputs: dict[str, tuple[tuple[int, ...], Union[str, int]]]
    phase: int = 0
    passes: int = 1


SEQUENCE = {"x": ((4, 2, 3), "normal"), "cont": ((4, 2), 2)}
CHAINS = {
    "words": Chain(
        f"""
        layer {{ name: "embed" type: "Embed" bottom: "words" top: "vectors"
          embed_param {{ input_dim: 6 num_output: 4 {FILL} }} }}
        layer {{ name: "lstm" type: "LSTM" bottom: "vectors" bottom: "cont" bottom: "image"
          top: "top" recurrent_param {{ num_output: 5 {FILL} }} }}
        layer {{ name: "scores" type: "InnerProduct" bottom: "top" top: "scores"
          inner_product_param {{ num_output: 6 axis: 2 {FILL} }} }}
        layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "scores" bottom: "next" top: "loss"
          softmax_param {{ axis: 2 }} loss_param {{ ignore_label: 0 }} }}
        layer {{ name: "best" type: "ArgMax" bottom: "scores" top: "best"
          argmax_param {{ axis: 2 }} }}
        """,
        {
            "words": ((5, 3), 6), "cont": ((5, 3), 2), "image": ((3, 2, 2), "normal"),
            "next": ((5, 3), 6),
        },
        passes=3,
    ),
    "rnn_carries_its_state": Chain(
        f'layer {{ name: "rnn" type: "RNN" bottom: "x" bottom: "cont" top: "top" '
        f"recurrent_param {{ num_output: 3 {FILL} }} }} {LOSS}", SEQUENCE, phase=1, passes=3,
    ),
    "cont_between_0_and_1": Chain(
        f'layer {{ name: "lstm" type: "LSTM" bottom: "x" bottom: "cont" top: "top" '
        f"recurrent_param {{ num_output: 3 {FILL} }} }} {LOSS}",
        {**SEQUENCE, "cont": ((4, 2), "uniform")}, passes=2,
    ),
    # In TRAIN, Caffe shares recurrent weights with the first step alone; the engine with all.
    "frozen_and_shared": Chain(
        f"""
        layer {{ name: "first" type: "LSTM" bottom: "x" bottom: "cont" top: "h"
          param {{ lr_mult: 0 }} param {{ name: "b" }} param {{ name: "w" lr_mult: 2 }}
          recurrent_param {{ num_output: 3 {FILL} }} }}
        layer {{ name: "second" type: "LSTM" bottom: "h" bottom: "cont" top: "top"
          param {{ }} param {{ name: "b" }} param {{ name: "w" }}
          recurrent_param {{ num_output: 3 {FILL} }} }} {LOSS}
        """, SEQUENCE, phase=1,
    ),
    "states_from_below": Chain(
        f"""
        layer {{ name: "start" type: "Parameter" top: "start" parameter_param {{
          shape {{ dim: 1 dim: 2 dim: 3 }} }} }}
        layer {{ name: "rnn" type: "RNN" bottom: "x" bottom: "cont" bottom: "start" top: "h"
          top: "last" recurrent_param {{ num_output: 3 expose_hidden: true {FILL} }} }}
        layer {{ name: "join" type: "Concat" bottom: "h" bottom: "last" top: "top"
          concat_param {{ axis: 0 }} }} {LOSS}
        """, SEQUENCE,
    ),
    "filter": Chain(
        f"""
        layer {{ name: "scale" type: "Scale" bottom: "x" top: "y" }}
        layer {{ name: "filter" type: "Filter" bottom: "y" bottom: "x" bottom: "keep" top: "top"
          top: "other" propagate_down: true propagate_down: false propagate_down: false }} {LOSS}
        """, {"x": ((7, 3), "normal"), "keep": ((7,), 2)},
    ),
    "batch_reindex": Chain(
        f"""
        layer {{ name: "scale" type: "Scale" bottom: "x" top: "y" }}
        layer {{ name: "pick" type: "BatchReindex" bottom: "y" bottom: "rows" top: "top" }} {LOSS}
        """, {"x": ((4, 3), "normal"), "rows": ((7,), 4)},
    ),
    "parameter": Chain(
        f"""
        layer {{ name: "offset" type: "Parameter" top: "offset" parameter_param {{
          shape {{ dim: 4 dim: 3 }} }} }}
        layer {{ name: "sum" type: "Eltwise" bottom: "offset" bottom: "x" top: "top" }} {LOSS}
        """, {"x": ((4, 3), "normal")},
    ),
    "shared_memory": Chain(
        f"""
        layer {{ name: "scale" type: "Scale" bottom: "x" top: "y" }}
        layer {{ name: "one" type: "Slice" bottom: "y" top: "z" }}
        layer {{ name: "reshape" type: "Reshape" bottom: "z" top: "r" reshape_param {{
          shape {{ dim: -1 }} axis: 1 num_axes: 2 }} }}
        layer {{ name: "relu" type: "ReLU" bottom: "r" top: "r" }}
        layer {{ name: "cut" type: "Slice" bottom: "r" top: "a" top: "b"
          slice_param {{ slice_point: 5 }} }}
        layer {{ name: "tile" type: "Tile" bottom: "a" top: "c" tile_param {{ tiles: 2 }} }}
        layer {{ name: "crop" type: "Crop" bottom: "c" bottom: "b" top: "top"
          crop_param {{ axis: 1 offset: 2 }} }} {LOSS}
        """, {"x": ((2, 3, 4), "normal")}, passes=2,
    ),
}  # fmt: skip


def prototxt_of(chain: Chain) -> str:
    """The net with its Input layers."""
    inputs = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
        f"{' '.join(f'dim: {d}' for d in shape)} }} }} }}\n"
        for name, (shape, _) in chain.inputs.items()
    )
    return inputs + chain.text


def draw_values(draw: np.random.Generator, shape: tuple[int, ...], kind: Union[str, int]):
    """An input's values, float32."""
    if isinstance(kind, int):
        return draw.integers(kind, size=shape).astype(np.float32)
    return getattr(draw, {"normal": "standard_normal"}.get(kind, "random"))(shape, np.float32)


@pytest.fixture(scope="module")
def results(bvlc_python, tmp_path_factory):
    """Both providers' results of every chain, by name."""
    folder = tmp_path_factory.mktemp("chains")
    draw = np.random.default_rng(8)
    random.set_random_seed(8)
    jobs, ours = [], {}
    for name, chain in CHAINS.items():
        path, model = folder / f"{name}.prototxt", folder / f"{name}.caffemodel"
        path.write_text(prototxt_of(chain))
        net = ours[name] = Net(path, chain.phase)
        arrays = {f"data:{key}": draw_values(draw, *spec) for key, spec in chain.inputs.items()}
        for key in chain.inputs:
            net.blobs[key].data[...] = arrays[f"data:{key}"]
        np.savez(folder / f"{name}.npz", **arrays)
        net.save(model)
        for _ in range(chain.passes):
            net.forward()
        net.clear_param_diffs()
        net.backward()
        jobs.append(
            {
                "name": name, "net": str(path), "weights": str(model), "phase": chain.phase,
                "inputs": list(chain.inputs), "diffs": [], "backward": True,
                "passes": chain.passes,
            }
        )  # fmt: skip
    run_jobs(bvlc_python, folder, jobs)
    return {name: (net, np.load(folder / f"{name}.out.npz")) for name, net in ours.items()}


@pytest.mark.parametrize("name", CHAINS)
def test_chain(results, name):
    net, theirs = results[name]
    close = {"rtol": 1e-5, "atol": 1e-5}
    for blob_name, blob in net.blobs.items():
        np.testing.assert_allclose(blob.data, theirs[f"data:{blob_name}"], **close)
    for layer, blobs in net.params.items():
        for index, blob in enumerate(blobs):
            np.testing.assert_allclose(blob.data, theirs[f"param:{layer}:{index}"], **close)
            np.testing.assert_allclose(
                blob.diff, theirs[f"grad:{layer}:{index}"], **close, err_msg=f"{layer} {index}"
            )
            assert name == "states_from_below" or np.any(blob.diff), f"{layer} {index}: no gradient"
