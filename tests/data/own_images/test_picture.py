"""An image file as a record: what convert_imageset makes of it, and what cannot be read."""

from __future__ import annotations

import io
import os
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from dualnet.data.own_images.picture import Picture, Unreadable, Wanted, prepare_picture


def draw(height=12, width=10, channels=3):
    return np.random.RandomState(0).randint(0, 256, (height, width, channels)).astype(np.uint8)


@pytest.fixture
def colors(tmp_path):
    """A PNG, and its pixels as planes of blue, green and red."""
    pixels = draw()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png", pixels.transpose(2, 0, 1)[::-1]


def test_planes_are_blue_green_red(colors):
    path, planes = colors
    found = prepare_picture(Wanted(), path)
    assert found.compressed is None and found.pixels.flags.c_contiguous
    np.testing.assert_array_equal(found.pixels, planes)


def test_sizes(colors):
    path, _ = colors
    assert prepare_picture(Wanted(size=(5, 7)), path).pixels.shape == (3, 5, 7)
    assert prepare_picture(Wanted(shorter=5), path).pixels.shape == (3, 6, 5)
    assert prepare_picture(Wanted(shorter=20), path).pixels.shape == (3, 24, 20)
    assert prepare_picture(Wanted(color=False, size=(5, 7)), path).pixels.shape == (1, 5, 7)


def test_shrinking_to_half_averages_four_and_antialias_averages_more(tmp_path):
    """OpenCV's exception for halves; a third takes four of nine pixels, unless antialiased."""
    checks = (np.indices((12, 12)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(checks).save(tmp_path / "a.png")
    half = prepare_picture(Wanted(size=(6, 6), color=False), tmp_path / "a.png").pixels
    assert (half == 128).all()
    third = prepare_picture(Wanted(size=(4, 4), color=False), tmp_path / "a.png").pixels
    assert set(np.unique(third)) == {0, 255}  # centres of 3 x 3 blocks, exactly
    smooth = prepare_picture(
        Wanted(size=(4, 4), color=False, filter="antialias"), tmp_path / "a.png"
    ).pixels
    assert smooth.min() > 90 and smooth.max() < 165


def test_compressed_files_are_kept_where_nothing_changes(colors, tmp_path):
    path, planes = colors
    found = prepare_picture(Wanted(encoded=True), path)
    assert found.compressed == path.read_bytes()
    np.testing.assert_array_equal(found.pixels, planes)
    # By its content, not by its name.
    (tmp_path / "b.jpg").write_bytes(path.read_bytes())
    assert prepare_picture(Wanted(encoded=True), tmp_path / "b.jpg").compressed[:2] == b"\xff\xd8"


@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_others_are_compressed_anew(colors, kind):
    path, _ = colors
    found = prepare_picture(Wanted(size=(6, 5), encoded=True, encode_type=kind), path)
    plain = prepare_picture(Wanted(size=(6, 5)), path).pixels
    decoded = np.asarray(Image.open(io.BytesIO(found.compressed))).transpose(2, 0, 1)[::-1]
    np.testing.assert_array_equal(found.pixels, decoded)
    if kind == "png":
        np.testing.assert_array_equal(found.pixels, plain)


def test_a_turned_jpeg_is_compressed_anew_for_caffe_does_not_turn_records(tmp_path):
    image = Image.fromarray(np.full((6, 9, 3), 77, np.uint8))
    turned = image.getexif()
    turned[0x112] = 6
    image.save(tmp_path / "a.jpg", exif=turned)
    assert prepare_picture(Wanted(), tmp_path / "a.jpg").pixels.shape == (3, 9, 6)
    found = prepare_picture(Wanted(encoded=True), tmp_path / "a.jpg")
    assert Image.open(io.BytesIO(found.compressed)).size == (6, 9)


def test_grey_files_in_colour_and_the_other_way(tmp_path):
    Image.fromarray(draw(channels=1)[:, :, 0]).save(tmp_path / "grey.png")
    found = prepare_picture(Wanted(encoded=True), tmp_path / "grey.png")
    assert found.pixels.shape == (3, 12, 10)
    assert np.asarray(Image.open(io.BytesIO(found.compressed))).shape == (12, 10, 3)
    found = prepare_picture(Wanted(color=False, encoded=True), tmp_path / "grey.png")
    assert found.compressed == (tmp_path / "grey.png").read_bytes()


def jpeg():
    stream = io.BytesIO()
    Image.fromarray(draw(60, 60)).save(stream, "JPEG")
    return stream.getvalue()


def png():
    stream = io.BytesIO()
    Image.fromarray(draw(60, 60)).save(stream, "PNG")
    return stream.getvalue()


def bomb():
    """A PNG that says it is 60,000 x 60,000."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"no image", "text"),
        (b"\x00\x01\x02" * 50, "known format|cannot load"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b"<html>404 not found</html>", "web page"),
        (b"\0" * 500, "zeros"),
        (jpeg()[:-900], "truncated"),
        (png()[:-900], "."),
        (png()[:40], "."),
        (bomb(), "[Dd]ecompression ?[Bb]omb|exceeds limit"),
    ],
)
def test_what_cannot_be_read(tmp_path, content, words):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    found = prepare_picture(Wanted(), path)
    assert isinstance(found, Unreadable)
    assert "\n" not in found.reason and "0x" not in found.reason
    assert re.search(words, found.reason)


def test_images_whose_bytes_look_like_text(tmp_path):
    Image.new("RGB", (20, 20), "white").save(tmp_path / "white.ppm")
    found = prepare_picture(Wanted(), tmp_path / "white.ppm")
    assert isinstance(found, Picture) and (found.pixels == 255).all()


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    for name, words in (("pipe.jpg", "not a regular file"), ("folder.jpg", "Is a directory"),
                        ("missing.jpg", "No such file")):  # fmt: skip
        assert words in prepare_picture(Wanted(), tmp_path / name).reason


def test_every_truncation_is_found_or_harmless(tmp_path):
    whole = jpeg()
    for size in range(0, len(whole) - 2, 61):
        (tmp_path / "a.jpg").write_bytes(whole[:size])
        assert isinstance(prepare_picture(Wanted(), tmp_path / "a.jpg"), Unreadable), size
    (tmp_path / "a.jpg").write_bytes(whole)
    assert isinstance(prepare_picture(Wanted(), tmp_path / "a.jpg"), Picture)
