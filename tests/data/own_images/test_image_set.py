"""`dualnet data images`: LMDB and mean of one's own images, and Caffe's own tools as the oracle."""

from __future__ import annotations

import json
import os

import lmdb
import numpy as np
import pytest
from PIL import Image

from dualnet import cli
from dualnet.backend import caffe, caffe_pb2
from dualnet.cli.data import SETS
from dualnet.data.mean import read_mean
from dualnet.data.own_images.image_set import ImageSet, make_image_set
from dualnet.data.own_images.picture import Wanted
from dualnet.data.sets.prepare import DATA_SETS
from dualnet.errors import ConfigError, UsageError
from tests.data.caffe_tool import tool

__all__ = ["tool"]  # a fixture

CLASSES = ("ant", "bee", "cow")


@pytest.fixture
def folder(tmp_path):
    """Twelve images of 9 x 7 for each of three classes, PNG, and a list of them."""
    random = np.random.RandomState(0)
    lines = []
    for label, name in enumerate(CLASSES):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(12):
            pixels = random.randint(0, 256, (9, 7, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
            lines.append(f"{name}/{number}.png {label}\n")
    (tmp_path / "images" / "list.txt").write_text("".join(lines))
    return tmp_path / "images"


@pytest.fixture(autouse=True)
def _no_signals(monkeypatch):
    monkeypatch.setattr(cli, "_handle_stops", lambda handler: None)


def records(path):
    """Key to Datum, in the order of the database."""
    with lmdb.open(str(path), readonly=True, lock=False) as env, env.begin() as transaction:
        return {key: caffe_pb2.Datum.FromString(value) for key, value in transaction.cursor()}


def content(directory):
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def make(source, out, log=None, **settings):
    lines = [] if log is None else log
    return make_image_set(ImageSet(source, out, **settings), lines.append)


def test_a_folder(folder, tmp_path):
    log = []
    summary = make(folder, tmp_path / "out", log, test_share=0.25)
    assert (summary["train"], summary["test"]) == (27, 9)
    assert summary["classes"] == list(CLASSES) and summary["shape"] == [3, 9, 7]
    assert (tmp_path / "out/labels.txt").read_text() == "ant\nbee\ncow\n"
    train, test = (records(tmp_path / "out" / part) for part in ("train_lmdb", "test_lmdb"))
    assert not {key[9:] for key in train} & {key[9:] for key in test}
    for part in (train, test):
        labels = [datum.label for datum in part.values()]
        assert labels != sorted(labels)  # Caffe's Data layer never shuffles
        assert [labels.count(k) for k in range(3)] == [len(part) // 3] * 3
        for number, (key, datum) in enumerate(part.items()):
            name = key[9:].decode()
            assert key == f"{number:08d}_{name}".encode()
            assert CLASSES[datum.label] == name.split("/")[0]
            pixels = np.asarray(Image.open(folder / name)).transpose(2, 0, 1)[::-1]
            assert datum.data == pixels.tobytes() and not datum.encoded
    images = [np.frombuffer(d.data, np.uint8).reshape(3, 9, 7) for d in train.values()]
    mean = read_mean(tmp_path / "out/mean.binaryproto")
    np.testing.assert_allclose(mean, np.mean(images, axis=0), rtol=1e-6)
    np.testing.assert_allclose(summary["channel_mean"], mean.mean((1, 2)), atol=1e-3)
    assert any("held back 9 of 36 images" in line for line in log)


def test_any_number_of_processes_gives_the_same_bytes(folder, tmp_path):
    wanted = Wanted(size=(5, 6))
    for workers in (1, 2):
        make(folder, tmp_path / str(workers), wanted=wanted, workers=workers)
    assert content(tmp_path / "1") == content(tmp_path / "2")
    other = make(folder, tmp_path / "seed", wanted=wanted, seed=2)
    assert other["sha256"] != make(folder, tmp_path / "same", wanted=wanted)["sha256"]


def test_lists_keep_their_order_unless_shuffled(folder, tmp_path):
    (folder / "test.txt").write_text("bee/3.png 1\nant/0.png 0\n")
    settings = {"test": folder / "test.txt"}
    make(folder / "list.txt", tmp_path / "a", **settings)
    names = [line.split()[0] for line in (folder / "list.txt").read_text().splitlines()]
    assert [key[9:].decode() for key in records(tmp_path / "a/train_lmdb")] == names
    keys = list(records(tmp_path / "a/test_lmdb"))
    assert keys == [b"00000000_bee/3.png", b"00000001_ant/0.png"]
    make(folder / "list.txt", tmp_path / "b", shuffle=True, **settings)
    shuffled = [key[9:].decode() for key in records(tmp_path / "b/train_lmdb")]
    assert shuffled != names and sorted(shuffled) == sorted(names)
    make(folder / "list.txt", tmp_path / "c", test_share=0.5)
    kept = [key[9:].decode() for key in records(tmp_path / "c/train_lmdb")]
    assert kept == [name for name in names if name in kept] and len(kept) == 18
    assert not (tmp_path / "c/labels.txt").exists()


def test_caffe_trains_on_it(folder, tmp_path):
    make(folder, tmp_path / "out", wanted=Wanted(size=(8, 8), encoded=True), test_share=0)
    assert not (tmp_path / "out/test_lmdb").exists()
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "d" type: "Data" top: "data" top: "label" transform_param { mean_file: '
        f'"{tmp_path}/out/mean.binaryproto" }} data_param {{ source: "{tmp_path}/out/train_lmdb" '
        "batch_size: 36 backend: LMDB } }"
    )
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN)
    net.forward()
    assert net.blobs["data"].data.shape == (36, 3, 8, 8)
    np.testing.assert_allclose(net.blobs["data"].data.mean(0), 0, atol=1e-3)
    assert sorted(net.blobs["label"].data) == sorted([0, 1, 2] * 12)


def spoil(folder):
    (folder / "ant/3.png").write_bytes(b"")
    (folder / "bee/5.png").write_bytes((folder / "bee/5.png").read_bytes()[:100])
    (folder / "cow/7.png").unlink()


def test_images_that_cannot_be_read_are_all_named_and_nothing_is_left(folder, tmp_path):
    spoil(folder)
    with pytest.raises(ConfigError) as caught:
        make(folder / "list.txt", tmp_path / "out", workers=2)
    message = str(caught.value)
    assert message.startswith("3 of 36 images cannot be read: ") and "--skip-bad" in message
    for name, reason in (("ant/3.png", "empty"), ("bee/5.png", ""), ("cow/7.png", "No such file")):
        assert f"{name} ({reason}" in message
    assert not content(tmp_path / "out") and not list((tmp_path / "out").glob("*"))


def test_they_can_be_left_out(folder, tmp_path):
    spoil(folder)
    log = []
    summary = make(folder / "list.txt", tmp_path / "out", log, skip_bad=True, test_share=0)
    assert summary["train"] == 33
    assert summary["skipped"] == ["ant/3.png", "bee/5.png", "cow/7.png"]
    assert any(line.startswith("left out 3 images that cannot be read: ant/3.png") for line in log)
    keys = list(records(tmp_path / "out/train_lmdb"))
    assert b"00000003_ant/3.png" not in keys and b"00000004_ant/4.png" in keys  # as Caffe's
    for path in folder.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(ConfigError, match="no image is left to train with"):
        make(folder / "list.txt", tmp_path / "none", skip_bad=True, test_share=0)


def test_images_of_several_sizes(folder, tmp_path):
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "bee/0.png")
    log = []
    summary = make(folder, tmp_path / "out", log)
    assert summary["shape"] is None and len(summary["channel_mean"]) == 3
    assert not (tmp_path / "out/mean.binaryproto").exists()
    assert any("2 shapes (most often 3 x 9 x 7, 3 x 4 x 4): there is no mean" in line
               for line in log)  # fmt: skip
    with pytest.raises(ConfigError, match=r"--check-size: .* 3 x 9 x 7 and bee/0.png 3 x 4 x 4"):
        make(folder / "list.txt", tmp_path / "checked", check_size=True)


def test_what_is_there_stays_unless_forced_and_nothing_old_is_left(folder, tmp_path):
    make(folder, tmp_path / "out")
    before = content(tmp_path / "out")
    with pytest.raises(UsageError, match="train_lmdb exists already: give --force"):
        make(folder, tmp_path / "out")
    assert content(tmp_path / "out") == before
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "bee/0.png")
    make(folder / "list.txt", tmp_path / "out", force=True, test_share=0)
    # Neither the mean nor the test images nor the classes of the other set.
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["train_lmdb"]


def test_long_names_keep_their_ends(tmp_path):
    deep = tmp_path / "images" / "c" / ("x" * 200) / ("y" * 200) / ("z" * 200)
    deep.mkdir(parents=True)
    for number in range(2):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(deep / f"{number}.png")
    make(tmp_path / "images", tmp_path / "out", test_share=0)
    keys = sorted(records(tmp_path / "out/train_lmdb"))
    assert [len(key) for key in keys] == [511, 511]
    assert sorted(key[-5:] for key in keys) == [b"0.png", b"1.png"]


@pytest.mark.parametrize("share", [1.0, -0.1, 0.99])
def test_a_share_that_leaves_nothing(folder, tmp_path, share):
    with pytest.raises(ConfigError, match="--test-share .* images to train with"):
        make(folder, tmp_path / "out", test_share=share)


# The command.


def test_the_command_tells_the_data_sets_that_there_are():
    assert {name: data_set.summary for name, data_set in DATA_SETS.items()} == SETS


def test_the_command(folder, tmp_path, capsys):
    arguments = ["data", "images", str(folder), "-o", str(tmp_path / "out"), "--workers", "1"]
    assert cli.main([*arguments, "--resize", "6x5", "--gray", "--check-size"]) == 0
    said = capsys.readouterr()
    summary = json.loads(said.out)
    assert summary["shape"] == [1, 6, 5] and summary["train"] + summary["test"] == 36
    assert "36 images of 3 classes" in said.err
    assert cli.main(arguments) == 2
    assert "give --force" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--resize", "big"], "--resize big: expected HEIGHTxWIDTH"),
        (["--resize", "0x5"], "--resize 0x5"),
        (["--resize-shorter", "-3"], "--resize-shorter -3"),
        (["--encode-type", "png"], "only with --encoded"),
        (["--workers", "0"], "--workers 0: at least 1"),
        (["--seed", "-1"], "--seed -1"),
        (["--test", "x", "--test-share", "0.1"], "only without --test x"),
        (["--test", "x"], "x: no such list or folder"),
    ],
)
def test_options_that_make_no_sense(folder, tmp_path, capsys, options, words):
    assert cli.main(["data", "images", str(folder), "-o", str(tmp_path / "o"), *options]) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "o").exists()


# BVLC Caffe's convert_imageset and compute_image_mean.


@pytest.fixture
def mixed(tmp_path):
    """Images of every kind, and a list that ends with one that is missing."""
    random = np.random.RandomState(1)
    pixels = random.randint(0, 256, (14, 11, 4)).astype(np.uint8)
    color = Image.fromarray(pixels[:, :, :3])
    (tmp_path / "images").mkdir()
    color.save(tmp_path / "images/a.png")
    color.save(tmp_path / "images/b c.jpg")
    Image.fromarray(pixels).save(tmp_path / "images/alpha.png")
    Image.fromarray(pixels[:, :, 0]).save(tmp_path / "images/grey.png")
    Image.fromarray(pixels[:, :, 0]).save(tmp_path / "images/grey.jpg")
    color.save(tmp_path / "images/d.bmp")
    inks = [Image.fromarray(np.ascontiguousarray(pixels[:, :, i])) for i in range(4)]
    Image.merge("CMYK", inks).save(tmp_path / "images/inks.jpg")
    turned = color.getexif()
    turned[0x112] = 6
    color.resize((14, 11)).save(tmp_path / "images/turned.jpg", exif=turned)
    names = [
        "b c.jpg",
        "a.png",
        "alpha.png",
        "grey.png",
        "grey.jpg",
        "d.bmp",
        "turned.jpg",
        "inks.jpg",
    ]
    lines = [f"{name} {7 * i}\n" for i, name in enumerate(names)] + ["missing.png 1\n"]
    (tmp_path / "list.txt").write_text("".join(lines))
    return tmp_path / "list.txt"


@pytest.mark.bvlc
@pytest.mark.parametrize("is_gray", [False, True])
@pytest.mark.parametrize("size", [None, (7, 5), (28, 23), (3, 11)])
def test_the_bytes_are_convert_imagesets(tool, mixed, tmp_path, size, is_gray):
    flags = ["--backend=lmdb", *(["--gray"] if is_gray else [])]
    if size:
        flags += [f"--resize_height={size[0]}", f"--resize_width={size[1]}"]
    tool("convert_imageset", *flags, f"{tmp_path}/images/", mixed, tmp_path / "theirs")
    make(mixed, tmp_path / "ours", wanted=Wanted(size=size, color=not is_gray), test_share=0,
         root=tmp_path / "images", skip_bad=True)  # fmt: skip
    theirs, ours = (records(tmp_path / name) for name in ("theirs", "ours/train_lmdb"))
    assert list(ours) == list(theirs) and len(ours) == 8
    for key, datum in theirs.items():
        assert ours[key].SerializeToString() == datum.SerializeToString(), key
    if size:  # the mean is of one size
        tool("compute_image_mean", "--backend=lmdb", tmp_path / "theirs", tmp_path / "mean")
        ours_mean = (tmp_path / "ours/mean.binaryproto").read_bytes()
        assert (tmp_path / "mean").read_bytes() == ours_mean


@pytest.mark.bvlc
def test_compressed_records_are_convert_imagesets_where_files_are_kept(tool, mixed, tmp_path):
    tool("convert_imageset", "--backend=lmdb", "--encoded", f"{tmp_path}/images/", mixed,
         tmp_path / "theirs")  # fmt: skip
    (tmp_path / "list.txt").write_text("b c.jpg 0\na.png 7\n")
    make(mixed, tmp_path / "ours", wanted=Wanted(encoded=True), test_share=0,
         root=tmp_path / "images")  # fmt: skip
    theirs, ours = (records(tmp_path / name) for name in ("theirs", "ours/train_lmdb"))
    for key, datum in ours.items():
        assert theirs[key].SerializeToString() == datum.SerializeToString(), key
    assert os.fsdecode(next(iter(ours))) == "00000000_b c.jpg"
