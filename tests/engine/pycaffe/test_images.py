"""Image input: resizing, oversampling, Transformer, Classifier and Detector."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.engine.errors import DataError, ShapeError, UnsupportedError
from dualnet.engine.net.net import Net
from dualnet.engine.pycaffe import io
from dualnet.engine.pycaffe.classifier import Classifier
from dualnet.engine.pycaffe.detector import Detector

NET = """
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 3 dim: 3 dim: 4 dim: 4 } } }
layer { name: "mean" type: "Pooling" bottom: "data" top: "mean"
  pooling_param { pool: AVE global_pooling: true } }
layer { name: "flat" type: "Flatten" bottom: "mean" top: "flat" }
"""


@pytest.fixture
def files(tmp_path):
    """A deploy net whose output is the mean of each channel, and its (empty) weights."""
    (tmp_path / "net.prototxt").write_text(NET)
    Net(tmp_path / "net.prototxt", 1).save(tmp_path / "net.caffemodel")
    return tmp_path / "net.prototxt", tmp_path / "net.caffemodel"


def test_resize_keeps_what_it_should():
    image = np.random.random((6, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(io.resize_image(image, (6, 5)), image, atol=1e-6)
    flat = np.full((4, 4, 1), 3, np.float32)
    assert (io.resize_image(flat, (9, 2)) == 3).all()
    nearest = io.resize_image(image, (12, 10), interp_order=0)
    np.testing.assert_allclose(nearest[::2, ::2], image, atol=1e-6)
    ramp = np.arange(8, dtype=np.float32)[:, None, None].repeat(2, 1)
    twice = io.resize_image(ramp, (16, 2))[1:-1, 0, 0]
    np.testing.assert_allclose(twice, np.arange(14) / 2 + 0.25, atol=1e-5)


def test_resize_other_channels():
    image = np.random.random((3, 3, 2)).astype(np.float32)
    larger = io.resize_image(image, (5, 5))  # corners stay where they are
    np.testing.assert_allclose(larger[::2, ::2], image, atol=1e-6)
    with pytest.raises(UnsupportedError, match="2 channels needs interp_order 0 or 1, it is 3"):
        io.resize_image(image, (5, 5), interp_order=3)
    with pytest.raises(UnsupportedError, match="interp_order 2 is not available"):
        io.resize_image(image[:, :, :1], (5, 5), interp_order=2)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_load_image(tmp_path, mode):
    image_module = pytest.importorskip("PIL.Image")
    colors = np.random.randint(0, 256, (4, 5, 3), dtype=np.uint8)
    image = image_module.fromarray(colors).convert(mode)
    image.save(tmp_path / "x.png")
    expected = np.asarray(image.convert("RGB"), np.float32) / 255
    loaded = io.load_image(str(tmp_path / "x.png"))
    assert loaded.dtype == np.float32
    np.testing.assert_allclose(loaded, expected, atol=1e-6)
    grey = io.load_image(str(tmp_path / "x.png"), color=False)
    weights = np.array([0.2125, 0.7154, 0.0721])
    np.testing.assert_allclose(grey[:, :, 0], expected @ weights, atol=1e-5)


def test_oversample():
    image = np.random.random((5, 6, 3)).astype(np.float32)
    crops = io.oversample([image, image + 1], (3, 4))
    assert crops.shape == (20, 3, 4, 3)
    np.testing.assert_array_equal(crops[0], image[:3, :4])
    np.testing.assert_array_equal(crops[3], image[2:, 2:])
    np.testing.assert_array_equal(crops[4], image[1:4, 1:5])
    np.testing.assert_array_equal(crops[5:10], crops[:5, :, ::-1])


def test_transformer_there_and_back():
    transformer = io.Transformer({"data": (1, 3, 4, 5)})
    transformer.set_transpose("data", (2, 0, 1))
    transformer.set_channel_swap("data", (2, 0, 1))
    transformer.set_raw_scale("data", 255)
    transformer.set_mean("data", np.array([1.0, 2.0, 3.0]))
    transformer.set_input_scale("data", 0.5)
    image = np.random.random((4, 5, 3)).astype(np.float32)
    ready = transformer.preprocess("data", image)
    swapped = image.transpose(2, 0, 1)[[2, 0, 1]]
    expected = (swapped * 255 - np.array([1, 2, 3])[:, None, None]) * 0.5
    np.testing.assert_allclose(ready, expected, rtol=1e-5)
    np.testing.assert_allclose(transformer.deprocess("data", ready), image, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.preprocess("x", np.zeros((4, 5, 3))), "x is not one of the net inputs"),
        (lambda t: t.set_transpose("data", (0, 1)), "same number of dimensions.*3, got 2"),
        (lambda t: t.set_channel_swap("data", (0, 1)), "input channels: 3, got 2"),
        (lambda t: t.set_mean("data", np.zeros(2)), "incompatible with input: 2"),
        (lambda t: t.set_mean("data", np.zeros((2, 4, 5))), r"shape: \(2, 4, 5\)"),
        (lambda t: t.set_mean("data", np.zeros((4, 5))), r"shape: \(4, 5\)"),
        (lambda t: t.set_mean("data", np.zeros((1, 3, 4, 5))), r"\(1, 3, 4, 5\).*take \[0\]"),
    ],
)
def test_transformer_refuses(call, message):
    with pytest.raises(Exception, match=message):
        call(io.Transformer({"data": (1, 3, 4, 5)}))


@pytest.mark.parametrize("kind", ["float32", "float64", "uint8", "int64"])
def test_a_mean_of_another_size_is_resized(kind):
    """Every other pixel of a ramp along an axis, but for the blur at its ends."""
    transformer = io.Transformer({"data": (1, 3, 8, 8)})
    ramp = np.arange(0, 64, 4)[None, None, :] + np.zeros((3, 16, 1), int)
    transformer.set_mean("data", ramp.astype(kind))
    mean = transformer.mean["data"]
    assert mean.shape == (3, 8, 8) and mean.dtype == np.float32
    expected = np.arange(2, 64, 8, dtype=np.float32)
    np.testing.assert_allclose(mean[1, 3, 2:-2], expected[2:-2], rtol=1e-4)
    transformer.set_mean("data", np.full((3, 16, 16), 7, kind))
    assert (transformer.mean["data"] == 7).all()  # pycaffe: NaN
    transformer.set_mean("data", np.full((1, 16, 16), 7, kind))
    transformer.set_transpose("data", (2, 0, 1))
    assert transformer.preprocess("data", np.zeros((8, 8, 3))).shape == (3, 8, 8)


@pytest.mark.parametrize("mean", [np.ones(3), np.ones((3, 4, 5)), np.ones((3, 9, 9)), None])
@pytest.mark.parametrize("kind", ["float32", "float64", "uint8", "bool", "int64"])
def test_what_goes_into_the_net_is_float32_and_the_image_stays(mean, kind):
    transformer = io.Transformer({"data": (1, 3, 4, 5)})
    transformer.set_transpose("data", (2, 0, 1))
    transformer.set_raw_scale("data", np.float64(255))
    transformer.set_input_scale("data", np.full((3, 1, 1), 0.5))
    if mean is not None:
        transformer.set_mean("data", mean)
    image = (np.random.random((4, 5, 3)) * 2).astype(kind)
    before = image.copy()
    ready = transformer.preprocess("data", image)
    assert ready.dtype == np.float32 and transformer.deprocess("data", ready).dtype == np.float32
    offset = 0 if mean is None else 1
    expected = (before.transpose(2, 0, 1).astype(float) * 255 - offset) / 2
    np.testing.assert_allclose(ready, expected, rtol=1e-5)
    np.testing.assert_array_equal(image, before)


def test_resize_of_other_types_and_shapes():
    image = np.random.randint(0, 256, (6, 5, 3), dtype=np.uint8)
    expected = io.resize_image(image.astype(np.float64), (3, 9))
    np.testing.assert_allclose(io.resize_image(image, (3, 9)), expected, rtol=1e-6)
    bits = io.resize_image(image > 99, (3, 9))
    assert bits.dtype == np.float32 and bits.min() >= 0 and bits.max() <= 1
    with pytest.raises(ShapeError, match=r"needs an image \(H, W, K\), it is \(6, 5\)"):
        io.resize_image(image[:, :, 0], (3, 3))


def test_load_image_of_other_kinds(tmp_path):
    """What BVLC's gives with Debian's scikit-image, to the bit."""
    image_module = pytest.importorskip("PIL.Image")
    pixels = np.random.randint(0, 256, (4, 5, 4), dtype=np.uint8)
    image_module.fromarray(pixels).save(tmp_path / "alpha.png")
    alpha = pixels[:, :, 3:] / 255
    white = pixels[:, :, :3] / 255 * alpha + 1 - alpha
    grey = io.load_image(str(tmp_path / "alpha.png"), color=False)
    np.testing.assert_allclose(grey[:, :, 0], white @ [0.2125, 0.7154, 0.0721], atol=1e-6)
    floats = np.random.random((4, 5)).astype(np.float32)
    image_module.fromarray(floats).save(tmp_path / "floats.tif")
    loaded = io.load_image(str(tmp_path / "floats.tif"), color=False)
    np.testing.assert_array_equal(loaded[:, :, 0], floats)
    color = image_module.fromarray(np.repeat(pixels[:, :, :1], 3, axis=2))
    turned = color.getexif()
    turned[0x112] = 6  # lies on its right side
    color.save(tmp_path / "turned.jpg", exif=turned, quality=100)
    found = io.load_image(str(tmp_path / "turned.jpg"), color=False)[:, :, 0]
    assert found.shape == (5, 4)
    np.testing.assert_allclose(found, np.rot90(pixels[:, :, 0], -1) / 255, atol=0.02)


def test_classifier_and_detector_with_a_mean_of_another_size(files):
    image = np.random.random((8, 8, 3)).astype(np.float32)
    mean = np.random.RandomState(0).uniform(0, 1, (3, 6, 6))
    classifier = Classifier(*files, mean=mean)
    resized = classifier.transformer.mean["data"]
    assert resized.shape == (3, 4, 4)
    found = classifier.predict([image], oversample=False)[0]
    expected = io.resize_image(image, (4, 4)).mean((0, 1)) - resized.mean((1, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    detector = Detector(*files, mean=mean, context_pad=1, raw_scale=2)
    np.testing.assert_allclose(detector.crop_mean, resized.transpose(1, 2, 0) / 2, rtol=1e-6)


def test_classifier(files):
    images = [np.random.random((8, 8, 3)).astype(np.float32) for _ in range(5)]
    classifier = Classifier(*files, image_dims=(8, 8), raw_scale=2, channel_swap=(2, 1, 0))
    centre = classifier.predict(images, oversample=False)
    expected = np.array([2 * i[2:6, 2:6, ::-1].mean((0, 1)) for i in images])
    np.testing.assert_allclose(centre, expected, rtol=1e-4)
    all_ten = classifier.predict(images)
    crops = io.oversample(images, (4, 4)).reshape(5, 10, 4, 4, 3)[..., ::-1]
    np.testing.assert_allclose(all_ten, 2 * crops.mean((1, 2, 3)), rtol=1e-4)


def test_detector(files, tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    pixels = np.random.randint(0, 256, (9, 9, 3), dtype=np.uint8)
    image_module.fromarray(pixels).save(tmp_path / "x.png")
    name = str(tmp_path / "x.png")
    found = Detector(*files).detect_windows([(name, [(1, 2, 5, 6), (0, 0, 4, 4)])])
    assert [d["window"] for d in found] == [(1, 2, 5, 6), (0, 0, 4, 4)]
    assert [d["filename"] for d in found] == [name, name]
    expected = pixels[1:5, 2:6].mean((0, 1)) / 255
    np.testing.assert_allclose(found[0]["prediction"], expected, rtol=1e-4)


def test_detector_outside(files):
    padded = Detector(*files, context_pad=1)
    image = np.ones((9, 9, 3), np.float32)
    with pytest.raises(ShapeError, match="lies outside of an image of 9 x 9"):
        padded.crop(image, (20, 20, 30, 30))
    corner = padded.crop(image, (0, 0, 3, 3))
    assert corner.shape == (4, 4, 3) and (corner[0] == 0).all() and corner[2, 2, 0] == 1
    with pytest.raises(DataError, match="selective_search"):
        padded.detect_selective_search(["x.png"])
