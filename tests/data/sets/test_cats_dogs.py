"""Photographs of cats and dogs from every layout that people have of them."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from dualnet.data.sets.cats_dogs import SIZE_PX, find_archive, read_cats_dogs
from dualnet.data.sets.prepare import prepare
from dualnet.errors import ConfigError, StorageFailed, UsageError
from tests.data.loading import load_lmdb

KAGGLE = [f"train/{kind}.{i}.png" for kind in ("cat", "dog") for i in range(10)]


def picture(size=(30, 20), colour=(250, 100, 10), form="PNG", **options):
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, form, **options)
    return stream.getvalue()


def fill(folder, names):
    """Pictures of their own red each, so that they can be told apart."""
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture((20 + i, 40 - i), (i, 100, 200)))
    return folder


def reds(part):
    return [int(image[2, 0, 0]) for image in part.images]


@pytest.fixture
def kaggle(tmp_path):
    return fill(tmp_path / "kaggle", KAGGLE)


def test_kaggles_layout_is_split_stratified(kaggle, tmp_path):
    train, test = read_cats_dogs(kaggle, tmp_path)
    assert train.images.shape == (16, 3, SIZE_PX, SIZE_PX) and test.images.shape[0] == 4
    assert sorted(test.labels) == [0, 0, 1, 1]
    assert sorted(reds(train) + reds(test)) == list(range(20))
    for part in (train, test):
        # cat.0 to cat.9 have the reds 0 to 9.
        assert [int(red >= 10) for red in reds(part)] == list(part.labels)
    assert list(train.labels) != sorted(train.labels)  # mixed


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz"])
def test_archives_give_the_same_as_their_folder(kaggle, tmp_path, kind):
    path = tmp_path / f"renamed.{kind}"
    names = KAGGLE[::-1]  # another order than by name
    if kind == "zip":
        with zipfile.ZipFile(str(path), "w") as archive:
            for name in names:
                archive.write(str(kaggle / name), name)
    else:
        with tarfile.open(str(path), "w:" + kind[4:]) as archive:
            for name in names:
                archive.add(str(kaggle / name), name)
    for mine, theirs in zip(read_cats_dogs(path, tmp_path), read_cats_dogs(kaggle, tmp_path)):
        assert np.array_equal(mine.labels, theirs.labels)
        assert all(np.array_equal(*pair) for pair in zip(mine.images, theirs.images))


@pytest.mark.parametrize(
    "names",
    [
        ["train/cat/a.png", "train/dog/b.png", "test/cat/c.png", "test/dog/d.png"],
        ["train/Cats/0.PNG", "train/Dogs/0.PNG", "test/Cats/1.PNG", "test/Dogs/1.PNG"],
        ["cat.0.png", "dog_0.png", "test/Cat-7.png", "test/dog.7.png"],
    ],
)
def test_a_labelled_test_part_is_used(tmp_path, names):
    train, test = read_cats_dogs(fill(tmp_path / "set", names), tmp_path)
    assert sorted(reds(train)) == [0, 1] and sorted(reds(test)) == [2, 3]
    assert sorted(train.labels) == sorted(test.labels) == [0, 1]


def test_what_has_no_label_is_left_out(kaggle, tmp_path):
    fill(kaggle, ["test1/1.png", "test1/2.png", "Thumbs.db", "cat.txt", "train/._cat.0.png"])
    train, test = read_cats_dogs(kaggle, tmp_path)
    assert len(train.labels) + len(test.labels) == 20


def test_planes_are_blue_green_red_and_scaled_without_bars(tmp_path):
    fill(tmp_path / "set", ["dog.0.png"])
    (tmp_path / "set" / "cat.0.png").write_bytes(picture((60, 20), (250, 100, 10)))
    train, test = read_cats_dogs(tmp_path / "set", tmp_path)
    images = [*train.images, *test.images]
    labels = [*train.labels, *test.labels]
    cat = images[labels.index(0)]
    assert np.array_equal(np.unique(cat.reshape(3, -1), axis=1), [[10], [100], [250]])


def test_a_picture_is_turned_as_its_camera_says(tmp_path):
    halves = np.zeros((20, 40, 3), np.uint8)
    halves[:, 20:] = 255
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x112] = 6  # turn by 90 degrees clockwise to look at
    Image.fromarray(halves).save(stream, "JPEG", exif=exif.tobytes())
    fill(tmp_path / "set", ["dog.0.png"])
    (tmp_path / "set" / "cat.0.jpg").write_bytes(stream.getvalue())
    train, test = read_cats_dogs(tmp_path / "set", tmp_path)
    labels = [*train.labels, *test.labels]
    cat = [*train.images, *test.images][labels.index(0)]
    assert cat[:, :100].max() < 50 and cat[:, 127:].min() > 200


@pytest.mark.parametrize("form", ["L", "P", "RGBA", "CMYK"])
def test_every_colour_mode_becomes_three_planes(tmp_path, form):
    fill(tmp_path / "set", ["dog.0.png"])
    Image.new("RGB", (30, 30), (255, 255, 255)).convert(form).save(
        str(tmp_path / "set" / "cat.0.jpg"), "TIFF" if form == "CMYK" else "PNG"
    )
    train, test = read_cats_dogs(tmp_path / "set", tmp_path)
    assert len(train.labels) + len(test.labels) == 2


def test_unreadable_photographs_are_reported_and_skipped(kaggle, tmp_path):
    whole = (kaggle / KAGGLE[3]).read_bytes()
    (kaggle / KAGGLE[3]).write_bytes(whole[: len(whole) // 2])
    (kaggle / KAGGLE[4]).write_bytes(b"not a picture")
    (kaggle / KAGGLE[15]).write_bytes(b"")
    lines = []
    train, test = read_cats_dogs(kaggle, tmp_path, log=lines.append)
    assert sorted(reds(train) + reds(test)) == sorted(set(range(20)) - {3, 4, 15})
    for name, line in zip((KAGGLE[3], KAGGLE[4], KAGGLE[15]), lines):
        assert line.startswith(f"skipped {name}: ")
    assert lines[3] == "3 photographs cannot be read and were skipped"


def test_prepare_writes_databases_and_a_mean(kaggle, tmp_path):
    summary = prepare("cats-dogs", kaggle, tmp_path / "out")
    assert (summary["train"], summary["test"]) == (16, 4)
    assert summary["shape"] == [3, SIZE_PX, SIZE_PX] and summary["classes"] == ["cat", "dog"]
    images, labels = load_lmdb(tmp_path / "out" / "train_lmdb")
    train, _ = read_cats_dogs(kaggle, tmp_path)
    assert np.array_equal(labels, train.labels)
    assert np.array_equal(images, np.stack(list(train.images)))
    # The file of scaled images leaves nothing behind.
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "mean.binaryproto", "test_lmdb", "train_lmdb"
    ]  # fmt: skip
    assert prepare("cats-dogs", kaggle, tmp_path / "again")["sha256"] == summary["sha256"]


def test_an_archive_where_the_data_set_goes_is_found(kaggle, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    assert find_archive(out) is None
    shutil.make_archive(str(out / "train"), "zip", str(kaggle))
    assert find_archive(out) == out / "train.zip"
    assert prepare("cats-dogs", out=out)["train"] == 16


def test_no_source(tmp_path):
    with pytest.raises(UsageError, match="give --source the folder or archive of Kaggle's"):
        prepare("cats-dogs", out=tmp_path)


def test_wrong_sources(kaggle, tmp_path):
    with pytest.raises(ConfigError, match="there is no .*nowhere: give --source"):
        read_cats_dogs(tmp_path / "nowhere", tmp_path)
    for path in kaggle.glob("train/dog.*"):
        path.unlink()
    with pytest.raises(ConfigError, match="no photograph of a dog in it: expected dog.0.jpg"):
        read_cats_dogs(kaggle, tmp_path)
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(ConfigError, match="text is not a complete zip or tar archive"):
        read_cats_dogs(tmp_path / "text", tmp_path)


def test_a_truncated_archive_is_refused(tmp_path):
    # Noise, which does not shrink: the cut is within the pictures.
    for name in ("cat.0.png", "dog.0.png"):
        noise = np.random.randint(0, 256, (90, 90, 3), np.uint8)
        Image.fromarray(noise).save(str(tmp_path / name))
    whole = tmp_path / "whole.tar.gz"
    with tarfile.open(str(whole), "w:gz") as archive:
        for name in ("cat.0.png", "dog.0.png"):
            archive.add(str(tmp_path / name), name)
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ConfigError, match="cut.tar.gz is not a complete zip or tar archive"):
        read_cats_dogs(cut, tmp_path)


def test_a_place_that_cannot_be_written(kaggle, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageFailed, match="cannot write the scaled images to"):
        read_cats_dogs(kaggle, tmp_path / "file" / "out")
