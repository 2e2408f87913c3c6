"""DenseImageData: images with images of labels, kept together."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
from PIL import Image

from dualnet.engine.core import random
from dualnet.engine.errors import DataError, PrototxtError
from dualnet.engine.net.net import Net
from dualnet.engine.proto.caffe_pb2 import TEST, TRAIN


@pytest.fixture
def files(tmp_path):
    """Four images of 6 x 8 pixels, whose labels are their blue channel: (4, 3, 6, 8) in BGR."""
    pixels = np.random.randint(0, 256, (4, 6, 8, 3)).astype(np.uint8)
    lines = []
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"i{number}.png")
        Image.fromarray(image[:, :, 2]).save(tmp_path / f"l{number}.png")
        lines.append(f"i{number}.png l{number}.png\n")
    (tmp_path / "list").write_text("".join(lines))
    return pixels[:, :, :, ::-1].transpose(0, 3, 1, 2).astype(np.float32)


@pytest.fixture
def make(tmp_path):
    """Builds the net, given its settings."""

    def build(settings="batch_size: 2", transform="", phase=TRAIN):
        path = tmp_path / "net.prototxt"
        path.write_text(
            'layer { name: "d" type: "DenseImageData" top: "data" top: "label" transform_param { '
            f'{transform} }} dense_image_data_param {{ source: "{tmp_path}/list" '
            f'root_folder: "{tmp_path}/" {settings} }} }}'
        )
        return Net(str(path), phase)

    return build


def batch(net):
    found = net.forward()
    return found["data"].copy(), found["label"].copy()


def test_the_prefetch_thread_ends_with_the_net(make, files):
    others = set(threading.enumerate())
    net = make()
    net.forward()
    (thread,) = set(threading.enumerate()) - others
    del net
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()


def test_in_order_from_the_beginning_again(make, files):
    net = make("batch_size: 3")
    shapes = [tuple(net.blobs[name].shape) for name in ("data", "label")]
    assert shapes == [(3, 3, 6, 8), (3, 1, 6, 8)]
    for wanted in ([0, 1, 2], [3, 0, 1]):
        images, labels = batch(net)
        np.testing.assert_array_equal(images, files[wanted])
        np.testing.assert_array_equal(labels, files[wanted][:, :1])


@pytest.mark.parametrize("phase", [TRAIN, TEST])
def test_crop_and_mirror_move_labels_with_their_images(make, files, phase):
    random.set_random_seed(4)
    net = make("batch_size: 4 crop_height: 4 crop_width: 5 mirror: true shuffle: true", "", phase)
    seen = set()
    for _ in range(6):
        images, labels = batch(net)
        assert images.shape == (4, 3, 4, 5)
        np.testing.assert_array_equal(images[:, :1], labels)
        for image in images:
            places = [
                (k, top, left, way)
                for k in range(4) for top in range(3) for left in range(4) for way in (1, -1)
                if np.array_equal(files[k, :, top : top + 4, left : left + 5][:, :, ::way], image)
            ]  # fmt: skip
            assert len(places) == 1
            seen.update(places)
    assert len({place[1:3] for place in seen}) > 4 and len({place[3] for place in seen}) == 2


def test_mean_and_scale_leave_labels_alone(make, files):
    images, labels = batch(make("batch_size: 2", "mean_value: 10 scale: 0.5"))
    np.testing.assert_allclose(images, (files[:2] - 10) / 2)
    np.testing.assert_array_equal(labels, files[:2, :1])


def test_labels_are_resized_to_the_nearest_pixel(make, files):
    images, labels = batch(make("batch_size: 1 new_height: 3 new_width: 16"))
    assert images.shape == (1, 3, 3, 16)
    expected = files[0, 0][[0, 2, 4]][:, np.arange(16) // 2]
    np.testing.assert_array_equal(labels[0, 0], expected)


def test_a_batch_of_one_takes_the_size_of_its_image(make, files, tmp_path):
    for name in "il":
        Image.fromarray(np.zeros((3, 2), np.uint8)).save(tmp_path / f"{name}1.png")
    net = make("batch_size: 1 is_color: false")
    assert batch(net)[0].shape == (1, 1, 6, 8)
    images, labels = batch(net)
    assert images.shape == labels.shape == (1, 1, 3, 2)
    with pytest.raises(DataError, match=r"line 2: '.*i1.png' has shape .* in the batch"):
        batch(make("batch_size: 2 is_color: false"))


def test_rand_skip_begins_later(make, files):
    random.set_random_seed(1)
    begun = {tuple(batch(make("batch_size: 1 rand_skip: 4"))[1].ravel()[:3]) for _ in range(12)}
    assert 1 < len(begun) <= 4


@pytest.mark.parametrize(
    ("settings", "transform", "reason"),
    [
        ("", "", "needs batch_size above 0"),
        ("batch_size: 1 new_height: 4", "", "needs new_height and new_width, or neither"),
        ("batch_size: 1 crop_width: 4", "", "needs crop_height and crop_width, or neither"),
        ("batch_size: 1", "mirror: true", "neither crop_size nor mirror of transform_param"),
        ("batch_size: 1", "crop_size: 4", "neither crop_size nor mirror of transform_param"),
    ],
)
def test_settings_that_are_refused(make, files, settings, transform, reason):
    with pytest.raises(PrototxtError, match=reason):
        make(settings, transform)


def test_files_that_are_refused(make, files, tmp_path):
    with pytest.raises(DataError, match=r"size \(6, 8\) is smaller than crop_height 7 and crop_w"):
        batch(make("batch_size: 1 crop_height: 7 crop_width: 5"))
    Image.fromarray(np.zeros((6, 7), np.uint8)).save(tmp_path / "l0.png")
    with pytest.raises(DataError, match=r"line 1: .* has size \(6, 8\), its labels .* \(6, 7\)"):
        make()
    (tmp_path / "list").write_text("i0.png\n")
    with pytest.raises(DataError, match="line 1: expected two paths without spaces"):
        make()
    (tmp_path / "list").write_text("\n")
    with pytest.raises(DataError, match="is empty; write two paths a line"):
        make()
    (tmp_path / "list").unlink()
    with pytest.raises(DataError, match="cannot read dense_image_data_param.source"):
        make()
