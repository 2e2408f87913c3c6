"""Reading and resizing image files."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from dualnet.engine.errors import DataError
from dualnet.engine.formats.image import read_image, resize


@pytest.fixture
def pixels():
    return np.random.randint(0, 256, (5, 7, 3)).astype(np.uint8)


def test_colours_are_in_bgr_order(pixels, tmp_path):
    for suffix in ("png", "bmp", "ppm"):
        path = str(tmp_path / f"x.{suffix}")
        Image.fromarray(pixels).save(path)
        np.testing.assert_array_equal(read_image(path, "test"), pixels[:, :, ::-1])


def test_alpha_is_dropped_and_gray_becomes_colour(pixels, tmp_path):
    alpha = np.dstack([pixels, np.zeros((5, 7), np.uint8)])
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    found = read_image(str(tmp_path / "alpha.png"), "test")
    np.testing.assert_array_equal(found, pixels[:, :, ::-1])
    Image.fromarray(pixels[:, :, 0]).save(tmp_path / "gray.png")
    found = read_image(str(tmp_path / "gray.png"), "test")
    np.testing.assert_array_equal(found, np.repeat(pixels[:, :, :1], 3, axis=2))


def test_four_inks_become_colours(tmp_path):
    """White paper, cyan, yellow, black, and half of cyan on half of black."""
    inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255), (128, 0, 0, 128)]
    colors = [(255, 255, 255), (0, 255, 255), (255, 255, 0), (0, 0, 0), (64, 127, 127)]
    rows = np.repeat(np.array(inks, np.uint8), 16, axis=0)
    planes = [Image.fromarray(np.repeat(rows[:, None, i], 16, axis=1)) for i in range(4)]
    Image.merge("CMYK", planes).save(tmp_path / "x.jpg", quality=100)
    for color in (True, None):
        found = read_image(str(tmp_path / "x.jpg"), "test", color)[8::16, 8, ::-1]
        np.testing.assert_allclose(found.astype(int), colors, atol=2)
    gray = read_image(str(tmp_path / "x.jpg"), "test", False)[8::16, 8, 0]
    np.testing.assert_allclose(gray, np.array(colors) @ [0.299, 0.587, 0.114], atol=2)


def test_gray_is_luminance(pixels, tmp_path):
    for suffix in ("png", "bmp"):
        Image.fromarray(pixels).save(tmp_path / f"x.{suffix}")
        found = read_image(str(tmp_path / f"x.{suffix}"), "test", color=False)
        assert found.shape == (5, 7, 1) and found.dtype == np.uint8
        expected = pixels @ np.array([0.299, 0.587, 0.114])
        assert np.abs(found[:, :, 0] - expected).max() <= 1
    Image.fromarray(pixels[:, :, 0]).save(tmp_path / "gray.png")
    found = read_image(str(tmp_path / "gray.png"), "test", color=False)
    np.testing.assert_array_equal(found[:, :, 0], pixels[:, :, 0])


def test_sixteen_bits_lose_the_lower_eight(tmp_path):
    deep = np.random.randint(0, 2**16, (4, 6)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    found = read_image(str(tmp_path / "deep.png"), "test", color=False)
    np.testing.assert_array_equal(found[:, :, 0], deep >> 8)


def test_exif_turns_the_image(tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "x.jpg", exif=exif)
    for color in (True, False):
        assert read_image(str(tmp_path / "x.jpg"), "test", color).shape[:2] == (8, 4)


def test_unreadable_files(tmp_path):
    with pytest.raises(DataError, match="^here: image '.*none.png' does not exist$"):
        read_image(str(tmp_path / "none.png"), "here")
    for content in (b"text", b"\x89PNG\r\n\x1a\n"):
        (tmp_path / "bad.png").write_bytes(content)
        with pytest.raises(DataError, match="^here: cannot read image '.*bad.png'"):
            read_image(str(tmp_path / "bad.png"), "here")


def test_content_replaces_the_file(pixels, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "x.png")
    content = (tmp_path / "x.png").read_bytes()
    found = read_image("elsewhere.png", "test", content=content)
    np.testing.assert_array_equal(found, pixels[:, :, ::-1])


def test_resize_keeps_what_is_linear():
    ramp = np.arange(0, 200, 20, dtype=np.uint8)
    image = np.broadcast_to(ramp[None, :, None], (4, 10, 3))
    wider = resize(image, 4, 20)
    assert wider.shape == (4, 20, 3)
    # Pixel centres stay in place: new pixel k lies at old place (k + 0.5) / 2 - 0.5.
    expected = np.clip(((np.arange(20) + 0.5) / 2 - 0.5) * 20, 0, 180)
    np.testing.assert_allclose(wider[0, :, 0], expected, atol=0.51)
    np.testing.assert_array_equal(resize(image, 9, 10), np.broadcast_to(ramp[:, None], (9, 10, 3)))


def test_shrinking_does_not_average_but_by_exactly_two():
    image = np.zeros((9, 9, 1), np.uint8)
    image[::3, ::3] = 255  # new pixels lie on old pixels 1, 4, 7
    assert not resize(image, 3, 3).any()
    image = np.array([[0, 4], [8, 15]], np.uint8)[:, :, None]
    np.testing.assert_array_equal(resize(image, 1, 1), [[[7]]])  # 6.75, rounded


def test_resize_to_the_same_size_and_to_one_pixel(pixels):
    np.testing.assert_array_equal(resize(pixels, 5, 7), pixels)
    np.testing.assert_array_equal(resize(pixels, 1, 1)[0, 0], pixels[2, 3])
