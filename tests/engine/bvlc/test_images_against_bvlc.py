"""Image input, Classifier and Detector against BVLC Caffe: one script, run in both."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dualnet.engine.core import random
from dualnet.engine.net.net import Net
from dualnet.engine.proto import caffe_pb2

pytestmark = pytest.mark.bvlc
RUNNER = Path(__file__).with_name("image_runner.py")
NET = """
name: "tiny"
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 0.01 } } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""


@pytest.fixture(scope="module")
def both(bvlc_python, repository, tmp_path_factory):
    """Both providers' results."""
    image_module = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("images")
    draw = np.random.default_rng(4)
    random.set_random_seed(4)
    (folder / "net.prototxt").write_text(NET)
    Net(folder / "net.prototxt", caffe_pb2.TEST).save(folder / "net.caffemodel")
    np.save(folder / "mean.npy", draw.uniform(90, 160, (3, 8, 8)).astype(np.float32))
    for name, shape in (("image0", (14, 17, 3)), ("image1", (14, 17, 3)), ("grey", (7, 9))):
        pixels = draw.integers(0, 256, shape, dtype=np.uint8)
        image_module.fromarray(pixels).save(folder / f"{name}.png")
    (folder / "loaded").mkdir()
    save_images(image_module, draw, folder / "loaded")
    found = []
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    engine = {**environment, "PYTHONPATH": str(repository)}
    for index, (command, env) in enumerate(
        (
            ([sys.executable, "-m", "dualnet.engine"], engine),
            ([bvlc_python, "-W", "ignore"], environment),
        )
    ):
        result = folder / f"{index}.npz"
        done = subprocess.run(
            [*command, str(RUNNER), str(folder), str(result)],
            capture_output=True, text=True, timeout=300, cwd=folder, env=env,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(np.load(result))
    return found


def save_images(image_module, draw, folder):
    """Files of every kind that pycaffe's load_image treats in its own way."""
    pixels = draw.integers(0, 256, (6, 7, 4), dtype=np.uint8)
    color = image_module.fromarray(pixels[:, :, :3])
    image_module.fromarray(pixels).save(folder / "alpha.png")
    image_module.fromarray(pixels).convert("LA").save(folder / "grey_alpha.png")
    image_module.fromarray(pixels[:, :, 0]).save(folder / "grey.jpg")
    image_module.fromarray(pixels[:, :, 0] > 99).save(folder / "bits.png")
    image_module.fromarray(draw.integers(0, 65536, (6, 7)).astype(np.uint16)).save(
        folder / "sixteen.png"
    )
    image_module.fromarray(draw.random((6, 7)).astype(np.float32)).save(folder / "floats.tif")
    color.quantize(16).save(folder / "palette.png")
    color.quantize(16).save(folder / "transparent.png", transparency=3)
    color.convert("CMYK").save(folder / "cmyk.jpg")
    turned = color.getexif()
    turned[0x112] = 6
    color.save(folder / "turned.jpg", exif=turned)


@pytest.mark.parametrize(
    "part",
    ["resize", "load", "oversample", "classify", "detect", "preprocess", "deprocess", "transform"],
)
def test_same_numbers(both, part):
    ours, theirs = both
    names = [name for name in theirs.files if name.startswith(part)]
    assert names and [name for name in ours.files if name.startswith(part)] == names
    for name in names:
        assert ours[name].shape == theirs[name].shape, name
        assert ours[name].dtype == theirs[name].dtype, name
        if theirs[name].dtype.kind == "U":
            assert ours[name] == theirs[name], name
            continue
        atol = 1e-4 if part == "transform" else 1e-5  # values up to 255 in float32
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, atol=atol, err_msg=name)
