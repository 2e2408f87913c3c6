"""WindowData, its file and its geometry."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from dualnet.engine.core import random
from dualnet.engine.errors import DataError, PrototxtError, ShapeError
from dualnet.engine.formats.image import resize
from dualnet.engine.net.net import Net
from dualnet.engine.proto import caffe_pb2


@pytest.fixture
def make(tmp_path):
    """Builds a net from the settings of a WindowData layer and the text of its window file."""

    def build(windows, settings="batch_size: 4", transform="crop_size: 8", file=None):
        (tmp_path / "windows").write_text(file or windows)
        path = tmp_path / "net.prototxt"
        path.write_text(f"""
layer {{ name: "d" type: "WindowData" top: "data" top: "label" window_data_param {{
  source: "{tmp_path}/windows" root_folder: "{tmp_path}/" {settings} }}
  transform_param {{ {transform} }} }}""")
        return Net(path, caffe_pb2.TRAIN)

    return build


@pytest.fixture
def pixels(tmp_path):
    """An image of 20 x 16 pixels, (16, 20, 3) uint8 in BGR order, without zeros."""
    image = np.random.randint(1, 256, (16, 20, 3)).astype(np.uint8)
    Image.fromarray(image[:, :, ::-1]).save(tmp_path / "x.png")
    return image


def listed(*windows):
    return f"# 0 x.png 3 16 20 {len(windows)} " + " ".join(windows)


OBJECT, GROUND = "3 0.8 2 1 9 8", "5 0.2 10 4 17 11"  # class, overlap, x1, y1, x2, y2: 8 x 8


def planes(image):
    return image.transpose(2, 0, 1).astype(np.float32)


def test_backgrounds_come_first(make, pixels):
    net = make(listed(OBJECT, GROUND), "batch_size: 7 fg_fraction: 0.3")
    out = net.forward()
    np.testing.assert_array_equal(out["label"], [0, 0, 0, 0, 0, 3, 3])
    np.testing.assert_array_equal(out["data"][0], planes(pixels[4:12, 10:18]))
    np.testing.assert_array_equal(out["data"][6], planes(pixels[1:9, 2:10]))


def test_thresholds_sort_windows(make, pixels):
    windows = listed("1 0.9 0 0 7 7", "2 0.7 0 0 7 7", "3 0.5 0 0 7 7", "4 0.1 0 0 7 7")
    settings = "batch_size: 40 fg_fraction: 0.5 fg_threshold: 0.7 bg_threshold: 0.5"
    labels = make(windows, settings).forward()["label"]
    assert set(labels[:20]) == {0} and set(labels[20:]) == {1, 2}


def test_windows_are_warped_and_mirrored(make, pixels):
    windows = listed("1 0.9 3 2 18 13")
    out = make(windows, "batch_size: 16 fg_fraction: 1", "crop_size: 8 mirror: true").forward()
    straight = planes(resize(pixels[2:14, 3:19], 8, 8))
    flips = [np.array_equal(crop, straight[:, :, ::-1]) for crop in out["data"]]
    same = [np.array_equal(crop, straight) for crop in out["data"]]
    assert all(a != b for a, b in zip(flips, same)) and len(set(flips)) == 2


def test_context_pads_with_zeros_outside_the_image(make, pixels):
    # 4 x 4 pixels at the corner; context of 2 doubles the window: 2 pixels beyond each edge.
    windows = listed("1 0.9 0 0 3 3")
    settings = "batch_size: 1 fg_fraction: 1 context_pad: 2"
    crop = make(windows, settings, "crop_size: 8 mean_value: 1").forward()["data"][0]
    assert not crop[:, 0].any() and not crop[:, :, 0].any()
    # The window from -2 to 6 has 9 pixels; of the 8 that they become, 6 show the image.
    np.testing.assert_array_equal(crop[:, 2:, 2:], planes(resize(pixels[:7, :7], 6, 6)) - 1)
    settings += ' cache_images: true crop_mode: "square"'
    again = make(windows, settings, "crop_size: 8 mean_value: 1").forward()["data"][0]
    np.testing.assert_array_equal(again, crop)


def test_squares_keep_proportions(make, pixels):
    windows = listed("1 0.9 4 6 14 8")  # 11 x 3 about (9.5, 7.5): rows 2 to 13, columns 4 to 15
    settings = 'batch_size: 1 fg_fraction: 1 crop_mode: "square"'
    crop = make(windows, settings, "crop_size: 12").forward()["data"][0]
    np.testing.assert_array_equal(crop, planes(pixels[2:14, 4:16]))


def test_the_centre_of_the_mean_is_subtracted(make, pixels, tmp_path):
    mean = np.random.rand(3, 12, 12).astype(np.float32)
    blob = caffe_pb2.BlobProto(num=1, channels=3, height=12, width=12, data=mean.ravel().tolist())
    (tmp_path / "mean").write_bytes(blob.SerializeToString())
    transform = f'crop_size: 8 mean_file: "{tmp_path}/mean"'
    out = make(listed(OBJECT), "batch_size: 1 fg_fraction: 1 scale: 2", transform).forward()
    expected = (planes(pixels[1:9, 2:10]) - mean[:, 2:10, 2:10]) * 2
    np.testing.assert_allclose(out["data"][0], expected, rtol=1e-6)
    with pytest.raises(
        ShapeError, match=r"has shape \(3, 12, 12\), the windows need \(3, 13, 13\)"
    ):
        make(listed(OBJECT), transform=transform.replace("8", "13", 1))
    with pytest.raises(PrototxtError, match="mean_file and mean_value"):
        make(listed(OBJECT), transform=transform + " mean_value: 1")


def test_the_transformations_scale_has_no_effect_but_a_warning(make, pixels, capsys):
    settings = "batch_size: 1 fg_fraction: 1"
    out = make(listed(OBJECT), settings, "crop_size: 8 scale: 3").forward()
    np.testing.assert_array_equal(out["data"][0], planes(pixels[1:9, 2:10]))
    assert "transform_param.scale 3 has no effect on WindowData" in capsys.readouterr().err


def test_the_seed_repeats_the_draws(make, pixels):
    windows = listed(*(f"{k} 0.9 {k} 0 {k + 7} 7" for k in range(1, 9)))

    def labels():
        random.set_random_seed(6)
        return tuple(make(windows, "batch_size: 9 fg_fraction: 1").forward()["label"])

    assert labels() == labels() and len(set(labels())) > 2


def test_wrong_settings(make, pixels):
    cases = [
        ("batch_size: 0", "crop_size: 8", "above 0, they are 0 and 8"),
        ("batch_size: 2", "", "above 0, they are 2 and 0"),
        ('batch_size: 2 crop_mode: "cut"', "crop_size: 8", "'warp' or 'square', it is 'cut'"),
        ("batch_size: 2 context_pad: 4", "crop_size: 8", "context_pad 4 .* of crop_size 8"),
        ("batch_size: 2 fg_fraction: 1.5", "crop_size: 8", "from 0 to 1, it is 1.5"),
        ("batch_size: 2", "crop_size: 8 mean_value: 1 mean_value: 2", "channels: 3, there are 2"),
    ]
    for settings, transform, message in cases:
        with pytest.raises(PrototxtError, match=f"layer 'd': .*{message}"):
            make(listed(OBJECT, GROUND), settings, transform)


def test_wrong_window_files(make, pixels, tmp_path):
    cases = [
        (" ", "'.*windows' is empty"),
        ("0 x.png", "image 0: expected '#', got '0'"),
        ("# 1 x.png 3 16 20 0", "image 0: its number is 1; images are numbered from 0"),
        ("# 0 x.png 1 16 20 0", "said to have 1 channels"),
        ("# 0 x.png 3 16 20 2 " + OBJECT, "image 0: .*the file ends within it"),
        ("# 0 x.png 3 16 20 one", "image 0: .*not a number: .*'one'"),
        (listed("0 0.9 0 0 7 7"), "an object window has class 0; objects are numbered from 1"),
        (listed(OBJECT), r"a batch has 3 background \(overlap below bg_threshold 0.5\) windows"),
        (listed(GROUND), r"a batch has 1 object \(overlap of fg_threshold 0.5 or more\) windows"),
    ]
    for text, message in cases:
        with pytest.raises(DataError, match=message):
            make(text)
    with pytest.raises(DataError, match="'d', '.*windows': cannot read image '.*y.png': No such"):
        make(listed(OBJECT, GROUND).replace("x.png", "y.png"), "batch_size: 1 cache_images: true")
    for place, extra in (("0 0 20 7", ""), ("30 0 35 7", "context_pad: 1")):
        net = make(listed("1 0.9 " + place), f"batch_size: 1 fg_fraction: 1 {extra}")
        with pytest.raises(DataError, match="'d': window x .* does not fit image 0 of 20 x 16"):
            net.forward()
