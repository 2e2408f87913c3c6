"""ImageData."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from dualnet.engine.core import random
from dualnet.engine.errors import DataError, PrototxtError, ShapeError
from dualnet.engine.formats.image import resize
from dualnet.engine.net.net import Net
from dualnet.engine.proto.caffe_pb2 import TEST, TRAIN


@pytest.fixture
def make(tmp_path):
    """Builds a net from text."""

    def build(text, phase=TRAIN):
        path = tmp_path / "net.prototxt"
        path.write_text(text)
        return Net(path, phase)

    return build


@pytest.fixture
def images(tmp_path):
    """Six PNG files of 6 x 5 pixels with labels 0 to 5, listed; (6, 3, 6, 5) uint8 in BGR order."""
    pixels = np.random.randint(0, 256, (6, 6, 5, 3)).astype(np.uint8)
    lines = []
    for label, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"image {label}.png")
        lines.append(f"image {label}.png {label}\n")
    (tmp_path / "list").write_text("".join(lines))
    return pixels[:, :, :, ::-1].transpose(0, 3, 1, 2)


def image_net(folder, settings="batch_size: 4", transform=""):
    return f"""
layer {{ name: "d" type: "ImageData" top: "data" top: "label"
         transform_param {{ {transform} }}
         image_data_param {{ source: "{folder}/list" root_folder: "{folder}/" {settings} }} }}"""


@pytest.mark.parametrize("phase", [TRAIN, TEST])
def test_images_in_order(make, images, tmp_path, phase):
    net = make(image_net(tmp_path), phase)
    assert list(net.blobs["data"].shape) == [4, 3, 6, 5]
    assert list(net.blobs["label"].shape) == [4]
    for rows in ([0, 1, 2, 3], [4, 5, 0, 1], [2, 3, 4, 5]):
        out = net.forward()
        np.testing.assert_array_equal(out["data"], images[rows])
        np.testing.assert_array_equal(out["label"], rows)


def test_shuffle_changes_each_round_and_repeats_with_the_seed(make, images, tmp_path):
    def rounds():
        random.set_random_seed(2)
        net = make(image_net(tmp_path, "batch_size: 6 shuffle: true"))
        found = []
        for _ in range(4):
            out = net.forward()
            order = out["label"].astype(int)
            np.testing.assert_array_equal(out["data"], images[order])
            found.append(tuple(order))
        return found

    first = rounds()
    assert len(set(first)) > 1 and all(sorted(order) == list(range(6)) for order in first)
    assert rounds() == first


def test_rand_skip_begins_among_the_first(make, images, tmp_path):
    starts = set()
    for _ in range(20):
        net = make(image_net(tmp_path, "batch_size: 2 rand_skip: 3"))
        labels = [int(x) for _ in range(3) for x in net.forward()["label"]]
        start = labels[0]
        assert labels == [(start + k) % 6 for k in range(6)]
        starts.add(start)
    assert starts == {0, 1, 2}


def test_transformations(make, images, tmp_path):
    net = make(image_net(tmp_path, transform="scale: 0.5 mean_value: 9"))
    np.testing.assert_array_equal(net.forward()["data"], (images[:4] - 9.0) / 2)
    net = make(image_net(tmp_path, transform="crop_size: 4"), TEST)
    np.testing.assert_array_equal(net.forward()["data"], images[:4, :, 1:5, 0:4])
    net = make(image_net(tmp_path, "batch_size: 6", "mirror: true crop_size: 4"))
    for image, crop in zip(images, net.forward()["data"]):
        places = [image[:, i : i + 4, j : j + 4] for i in range(3) for j in range(2)]
        assert any(np.array_equal(p, crop) or np.array_equal(p[:, :, ::-1], crop) for p in places)


def test_resizing_and_gray(make, images, tmp_path):
    net = make(image_net(tmp_path, "batch_size: 1 new_height: 9 new_width: 3"))
    expected = resize(images[0].transpose(1, 2, 0), 9, 3).transpose(2, 0, 1)
    np.testing.assert_array_equal(net.forward()["data"][0], expected)
    net = make(image_net(tmp_path, "batch_size: 1 is_color: false"))
    gray = net.forward()["data"]
    assert gray.shape == (1, 1, 6, 5)
    weights = np.array([0.114, 0.587, 0.299])[:, None, None]
    assert np.abs(gray[0, 0] - (images[0] * weights).sum(axis=0)).max() <= 1


def test_sizes_may_differ_between_batches_only(make, images, tmp_path):
    Image.new("RGB", (8, 4)).save(tmp_path / "wide.png")
    (tmp_path / "list").write_text("image 0.png 0\nwide.png 1\n")
    net = make(image_net(tmp_path, "batch_size: 1"))
    assert net.forward()["data"].shape == (1, 3, 6, 5)
    assert net.forward()["data"].shape == (1, 3, 4, 8)
    assert make(image_net(tmp_path, "batch_size: 2", "crop_size: 4")).forward()["data"].any()
    with pytest.raises(DataError, match=r"line 2: .*\(3, 4, 8\).* before it .*\(3, 6, 5\)"):
        make(image_net(tmp_path, "batch_size: 2")).forward()
    with pytest.raises(ShapeError, match=r"crop_size 5 exceeds the image \(3, 4, 8\)"):
        make(image_net(tmp_path, "batch_size: 2", "crop_size: 5")).forward()


def test_wrong_settings(make, images, tmp_path):
    def fails(error, message, settings="batch_size: 2"):
        with pytest.raises(error, match=message):
            make(image_net(tmp_path, settings))

    fails(PrototxtError, "batch_size above 0", "batch_size: 0")
    fails(PrototxtError, "set at the same time, they are 4 and 0", "new_height: 4")
    (tmp_path / "list").write_text("image 0.png 0")
    random.set_random_seed(1)
    fails(DataError, "rand_skip 99 drew [0-9]+, '.*list' lists 1; lower", "rand_skip: 99")
    (tmp_path / "list").write_text("image 0.png 0\n\nimage 1.png\n")
    fails(DataError, "line 3: expected a path, a space and an integer label, got 'image 1.png'")
    (tmp_path / "list").write_text("none.png 0\n")
    fails(DataError, "'d', '.*list', line 1: image '.*none.png' does not exist")
    (tmp_path / "list").write_text("\n")
    fails(DataError, "'.*list' is empty")
    (tmp_path / "list").unlink()
    fails(DataError, "cannot read image_data_param.source '.*list': No such file")


def test_an_image_that_vanishes_later_fails_the_pass(make, images, tmp_path):
    net = make(image_net(tmp_path, "batch_size: 3"))
    (tmp_path / "image 4.png").unlink()
    net.forward()
    with pytest.raises(DataError, match="line 5: image '.*image 4.png' does not exist"):
        net.forward()
