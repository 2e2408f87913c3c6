"""Nets and weights of older layouts against BVLC Caffe's own upgrade."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from dualnet.engine.formats import prototxt
from dualnet.engine.net.net import Net
from dualnet.engine.proto import caffe_pb2
from tests.engine.bvlc.jobs import run_jobs

pytestmark = pytest.mark.bvlc
LEGACY = Path(__file__).parent.parent / "legacy"


@pytest.fixture(scope="module")
def upgrade_tool(bvlc_python):
    """The command that starts Caffe's `upgrade_net_proto_text`, where it is installed."""
    root = Path(bvlc_python).parent.parent / "root"
    tool = root / "usr" / "bin" / "upgrade_net_proto_text"
    if not tool.exists():
        pytest.skip(f"no {tool}: the real Caffe was not installed by scripts/install_caffe.sh")
    loader = next((root / "lib").glob("*/ld-*.so"))
    triplet = loader.parent.name
    library = root / "usr" / "lib" / triplet
    paths = [library / "openblas-pthread", root / "lib" / triplet, library, root / "usr" / "lib"]
    return [str(loader), "--library-path", ":".join(map(str, paths)), str(tool)]


@pytest.mark.parametrize("layout", ["v0", "v1"])
def test_upgraded_nets_are_equal(upgrade_tool, tmp_path, layout):
    source, result = LEGACY / f"{layout}.prototxt", tmp_path / "upgraded.prototxt"
    # The exit code says only whether a field was dropped.
    subprocess.run([*upgrade_tool, str(source), str(result)], capture_output=True, timeout=60)
    theirs = prototxt.parse_text(result.read_text(), caffe_pb2.NetParameter, "theirs")
    ours = prototxt.read_net(source)
    assert list(ours.layer) == list(theirs.layer)
    assert ours == theirs


NET = """
input: "x" input_dim: 2 input_dim: 2 input_dim: 7 input_dim: 7
force_backward: true
layers { layer { name: "pad" type: "padding" pad: 1 } bottom: "x" top: "p" }
layers { layer { name: "conv" type: "conv" num_output: 3 kernelsize: 3 stride: 2
  weight_filler { type: "xavier" } bias_filler { value: 0.5 } } bottom: "p" top: "c" }
layers { layer { name: "norm" type: "lrn" local_size: 3 alpha: 0.5 } bottom: "c" top: "n" }
layers { layer { name: "pool" type: "pool" pool: AVE kernelsize: 2 stride: 2 }
  bottom: "n" top: "q" }
layers { layer { name: "ip" type: "innerproduct" num_output: 4
  weight_filler { type: "gaussian" std: 0.2 } } bottom: "q" top: "y" }
"""


def test_an_old_net_with_old_weights_computes_the_same(bvlc_python, tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    net = Net(path, caffe_pb2.TEST)
    stored = caffe_pb2.NetParameter(input=["x"], input_dim=[2, 2, 7, 7])
    for name, blobs in net.params.items():
        layer = stored.layers.add(name=name)
        for blob in blobs:
            n, c, h, w = (1,) * (4 - len(blob.shape)) + tuple(blob.shape)
            layer.blobs.add(num=n, channels=c, height=h, width=w, data=blob.data.reshape(-1))
    weights = tmp_path / "old.caffemodel"
    weights.write_bytes(stored.SerializeToString())
    again = Net(path, caffe_pb2.TEST, weights=weights)
    x = np.random.standard_normal((2, 2, 7, 7)).astype(np.float32)
    diff = np.random.standard_normal((2, 4)).astype(np.float32)
    np.savez(tmp_path / "old.npz", **{"data:x": x, "diff:y": diff})
    job = {
        "name": "old", "net": str(path), "weights": str(weights), "phase": caffe_pb2.TEST,
        "inputs": ["x"], "diffs": ["y"], "backward": True,
    }  # fmt: skip
    run_jobs(bvlc_python, tmp_path, [job])
    theirs = np.load(tmp_path / "old.out.npz")
    again.forward(x=x)
    again.backward(y=diff)
    for name in ("c", "n", "q", "y"):
        np.testing.assert_allclose(again.blobs[name].data, theirs[f"data:{name}"], atol=2e-6)
    np.testing.assert_allclose(again.blobs["x"].diff, theirs["diff:x"], atol=2e-6)
