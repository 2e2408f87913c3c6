"""`prepare`: what `dualnet data NAME` leaves behind."""

from __future__ import annotations

import numpy as np
import pytest

from dualnet.data.images import Images
from dualnet.data.mean import read_mean
from dualnet.data.sets import prepare as sets
from dualnet.data.sets.digits import read_digits
from dualnet.data.sets.prepare import DATA_SETS, PARTS, default_directory, prepare
from dualnet.errors import DualnetError, StorageFailed, UsageError
from tests.data.loading import load_lmdb


def _bytes(directory):
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}


def test_digits_are_stored_whole(tmp_path):
    summary = prepare("digits", out=tmp_path / "digits")
    assert summary == {
        "name": "digits",
        "directory": str(tmp_path / "digits"),
        "train": 1437,
        "test": 360,
        "shape": [1, 8, 8],
        "classes": list("0123456789"),
        "sha256": "ef052528ee2185c7124e618a1e05335fdfe6b969621f53d23232453cfc67943b",
    }
    assert sorted(path.name for path in (tmp_path / "digits").iterdir()) == sorted(PARTS)
    train, test = read_digits()
    for part, expected in zip(PARTS, (train, test)):
        images, labels = load_lmdb(tmp_path / "digits" / part)
        assert np.array_equal(images, expected.images)
        assert np.array_equal(labels, expected.labels)
    mean = read_mean(tmp_path / "digits" / "mean.binaryproto")
    np.testing.assert_allclose(mean, train.images.mean(axis=0), rtol=1e-6)


def test_twice_gives_the_same_bytes(tmp_path):
    for name in "ab":
        prepare("digits", out=tmp_path / name)
    assert _bytes(tmp_path / "a") == _bytes(tmp_path / "b")


def test_the_default_place_is_the_one_in_the_prototxt(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert prepare("digits")["directory"] == str(default_directory("digits")) == "data/digits"
    assert (tmp_path / "data" / "digits" / "train_lmdb" / "data.mdb").is_file()


@pytest.mark.parametrize("part", PARTS)
def test_what_is_there_stays_unless_forced(part, tmp_path):
    (tmp_path / part).mkdir()
    (tmp_path / part / "precious").write_text("x")
    with pytest.raises(UsageError, match=f"{part} exists already: give --force"):
        prepare("digits", out=tmp_path)
    assert _bytes(tmp_path) == {f"{part}/precious": b"x"}
    prepare("digits", out=tmp_path, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(PARTS)
    assert not (tmp_path / part / "precious").exists()


def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch):
    prepare("digits", out=tmp_path)
    before = _bytes(tmp_path)

    def fail(path, mean):
        raise StorageFailed("disk full")

    monkeypatch.setattr(sets, "write_mean", fail)
    with pytest.raises(StorageFailed):
        prepare("digits", out=tmp_path, force=True)
    assert _bytes(tmp_path) == before


def test_progress_goes_to_stderr(tmp_path, capsys):
    prepare("digits", out=tmp_path, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "train_lmdb: 100%" in err and "test_lmdb: 100%" in err


def test_unknown_names_and_useless_sources_are_told(tmp_path):
    with pytest.raises(UsageError, match="no data set 'imagenet': choose one of digits, cifar10"):
        prepare("imagenet", out=tmp_path)
    with pytest.raises(UsageError, match="leave out --source /x"):
        prepare("digits", source="/x", out=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def _tiny_cifar10(monkeypatch):
    """Replace the archive's reader; it returns its source's name in the pixels."""
    seen = []

    def read(source, log):
        seen.append(source)
        images = Images(np.zeros((4, 3, 32, 32), np.uint8), np.arange(4, dtype=np.uint8))
        return images, images

    monkeypatch.setattr(sets.cifar10, "read_cifar10", read)
    return seen


def test_cifar10_is_read_from_the_source(tmp_path, _tiny_cifar10):
    summary = prepare("cifar10", source=str(tmp_path / "mine"), out=tmp_path / "out")
    assert _tiny_cifar10 == [tmp_path / "mine"]
    assert (summary["train"], summary["test"], summary["shape"]) == (4, 4, [3, 32, 32])
    assert summary["classes"][3] == "cat"


def test_cifar10_is_downloaded_once(tmp_path, _tiny_cifar10, monkeypatch):
    fetched = []

    def fake(url, path, md5, progress):
        fetched.append((url, md5))
        path.write_bytes(b"archive")

    monkeypatch.setattr(sets, "download", fake)
    prepare("cifar10", out=tmp_path)
    prepare("cifar10", out=tmp_path, force=True)
    archive = sets.cifar10.BINARY
    assert fetched == [(archive.url, archive.md5)]
    assert _tiny_cifar10 == [tmp_path / archive.file_name] * 2


def test_a_failed_download_ends_it(tmp_path, monkeypatch):
    def fail(url, path, md5, progress):
        raise DualnetError("cannot download")

    monkeypatch.setattr(sets, "download", fail)
    with pytest.raises(DualnetError, match="cannot download"):
        prepare("cifar10", out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_registry_describes_itself():
    for name, entry in DATA_SETS.items():
        assert entry.name == name
        assert entry.summary and len(entry.classes) == len(set(entry.classes)) >= 2
