"""Layers and stored weights against BVLC Caffe, the judge on semantics.

Each layer's net is built by the engine, whose caffemodel BVLC then loads: every case also proves
that the formats agree.
"""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.core import random
from dualnet.engine.net.net import Net
from tests.engine.bvlc.cases import CASES, TOLERANCE, Case, Labels
from tests.engine.bvlc.jobs import run_jobs

pytestmark = pytest.mark.bvlc


def prototxt_of(case: Case) -> str:
    """A net of Input layers and the layer of a case."""
    inputs, bottoms = "", ""
    for i, bottom in enumerate(case.bottoms):
        shape = bottom.shape if isinstance(bottom, Labels) else bottom
        dims = " ".join(f"dim: {d}" for d in shape)
        inputs += (
            f'layer {{ name: "in{i}" type: "Input" top: "in{i}" '
            f"input_param {{ shape {{ {dims} }} }} }}\n"
        )
        bottoms += f' bottom: "in{i}"'
    names = ["in0" if case.in_place and k == 0 else f"out{k}" for k in range(case.tops)]
    tops = "".join(f' top: "{name}"' for name in names)
    force = "force_backward: true\n" if case.backward else ""
    return f'{force}{inputs}layer {{ name: "layer" {case.text}{bottoms}{tops} }}\n'


@pytest.fixture(scope="module")
def results(bvlc_python, tmp_path_factory):
    """Both providers' results of every case, by name."""
    folder = tmp_path_factory.mktemp("bvlc")
    draw = np.random.default_rng(5)
    random.set_random_seed(5)
    jobs, ours = [], {}
    for case in CASES:
        path = folder / f"{case.name}.prototxt"
        path.write_text(prototxt_of(case))
        net = Net(path, case.phase)
        arrays = {}
        for i, bottom in enumerate(case.bottoms):
            if isinstance(bottom, Labels):
                values = draw.integers(bottom.classes, size=bottom.shape)
            else:
                values = draw.standard_normal(bottom)
            arrays[f"data:in{i}"] = values.astype(np.float32)
            net.blobs[f"in{i}"].data[...] = arrays[f"data:in{i}"]
        if case.name == "batch_norm_test":
            for blob in net.params["layer"]:
                blob.data[...] = draw.uniform(1, 2, blob.data.shape)
        model = folder / f"{case.name}.caffemodel"
        net.save(model)
        net.forward()
        diffs = [name for name in net.outputs if case.backward and not net.blob_loss_weights[name]]
        for name in diffs:
            values = draw.standard_normal(net.blobs[name].data.shape).astype(np.float32)
            arrays[f"diff:{name}"] = values
            net.blobs[name].diff[...] = values
        if case.backward:
            net.clear_param_diffs()
            net.backward()
        np.savez(folder / f"{case.name}.npz", **arrays)
        ours[case.name] = net
        jobs.append(
            {
                "name": case.name, "net": str(path), "weights": str(model), "phase": case.phase,
                "inputs": [f"in{i}" for i in range(len(case.bottoms))], "diffs": diffs,
                "backward": case.backward,
            }
        )  # fmt: skip
    run_jobs(bvlc_python, folder, jobs)
    return {name: (net, np.load(folder / f"{name}.out.npz")) for name, net in ours.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_layer(results, case):
    net, theirs = results[case.name]
    close = {"rtol": TOLERANCE, "atol": TOLERANCE}
    for name, blob in net.blobs.items():
        assert tuple(blob.shape) == theirs[f"data:{name}"].shape
        np.testing.assert_allclose(blob.data, theirs[f"data:{name}"], **close)
        label = name.startswith("in") and isinstance(case.bottoms[int(name[2:])], Labels)
        if case.backward and not label:
            np.testing.assert_allclose(blob.diff, theirs[f"diff:{name}"], **close)
    for name, blobs in net.params.items():
        for index, blob in enumerate(blobs):
            np.testing.assert_allclose(blob.data, theirs[f"param:{name}:{index}"], **close)
            if case.backward:
                np.testing.assert_allclose(blob.diff, theirs[f"grad:{name}:{index}"], **close)
