"""CIFAR-10's readers, on small files in the official formats."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from dualnet.data.sets import cifar10
from dualnet.data.sets.cifar10 import BINARY, PYTHON, find_archive, read_cifar10
from dualnet.errors import ConfigError

SIZE = 20  # images in a batch, instead of 10,000
NAMES = [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(cifar10, "_BATCH_SIZE", SIZE)


@pytest.fixture
def batches():
    """Pixels (6, SIZE, 3072) and labels (6, SIZE); the sixth batch is for testing."""
    pixels = np.random.randint(0, 256, (6, SIZE, 3072)).astype(np.uint8)
    return pixels, np.random.randint(0, 10, (6, SIZE)).astype(np.uint8)


def _write_binary(folder: Path, batches) -> Path:
    folder = folder / BINARY.folder
    folder.mkdir(parents=True)
    for name, pixels, labels in zip(NAMES, *batches):
        (folder / f"{name}.bin").write_bytes(np.hstack([labels[:, None], pixels]).tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(cifar10.CLASSES))
    return folder


def _write_python(folder: Path, batches, protocol: int = 2) -> Path:
    folder = folder / PYTHON.folder
    folder.mkdir(parents=True)
    for name, pixels, labels in zip(NAMES, *batches):
        batch = {"batch_label": name, "labels": labels.tolist(), "data": pixels}
        (folder / name).write_bytes(pickle.dumps(batch, protocol))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": cifar10.CLASSES}))
    return folder


def _pack(folder: Path, archive: Path) -> Path:
    with tarfile.open(archive, "w:gz") as out:
        out.add(folder, folder.name)
    return archive


def _check(source: Path, batches, log=lambda line: None) -> None:
    pixels, labels = batches
    train, test = read_cifar10(source, log)
    assert np.array_equal(train.images, pixels[:5].reshape(-1, 3, 32, 32))
    assert np.array_equal(train.labels, labels[:5].ravel())
    assert np.array_equal(test.images, pixels[5].reshape(-1, 3, 32, 32))
    assert np.array_equal(test.labels, labels[5])


def test_planes_are_red_green_blue(tmp_path, batches):
    batches[0][0, 0] = np.repeat([1, 2, 3], 1024)
    train, _ = read_cifar10(_write_binary(tmp_path, batches))
    assert [np.unique(plane).tolist() for plane in train.images[0]] == [[1], [2], [3]]


@pytest.mark.parametrize("write", [_write_binary, _write_python])
def test_folders_their_parents_and_archives_read_alike(write, tmp_path, batches):
    folder = write(tmp_path / "data", batches)
    _check(folder, batches)
    _check(tmp_path / "data", batches)
    archive = _pack(folder, tmp_path / "renamed.tgz")
    lines: list[str] = []
    _check(archive, batches, lines.append)
    assert len(lines) == 1 and "is not the published cifar-10-" in lines[0]
    kind = BINARY if write is _write_binary else PYTHON
    (tmp_path / "only").mkdir()
    _pack(folder, tmp_path / "only" / kind.file_name)
    _check(tmp_path / "only", batches)
    assert find_archive(tmp_path / "only") == tmp_path / "only" / kind.file_name
    assert find_archive(tmp_path) is None


def test_the_published_archive_passes_without_a_remark(tmp_path, batches, monkeypatch):
    archive = _pack(_write_binary(tmp_path, batches), tmp_path / "a.tar.gz")
    published = BINARY._replace(md5=cifar10.md5_of(archive))
    monkeypatch.setattr(cifar10, "BINARY", published)
    monkeypatch.setattr(cifar10, "ARCHIVES", (published, PYTHON))
    lines: list[str] = []
    _check(archive, batches, lines.append)
    assert lines == []


def test_sizes_are_checked(tmp_path, batches):
    path = _write_binary(tmp_path, batches) / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-1])
    expected = SIZE * 3073
    with pytest.raises(
        ConfigError, match=f"data_batch_3.bin: expected {expected} bytes, found {expected - 1}"
    ):
        read_cifar10(tmp_path)


@pytest.mark.parametrize("write", [_write_binary, _write_python])
def test_labels_are_checked(write, tmp_path, batches):
    batches[1][5, 7] = 10
    write(tmp_path, batches)
    with pytest.raises(
        ConfigError, match=r"test_batch.*: expected labels 0 to 9, found 10 at image 7"
    ):
        read_cifar10(tmp_path)


@pytest.mark.parametrize("write", [_write_binary, _write_python])
def test_missing_files_are_named(write, tmp_path, batches):
    folder = write(tmp_path, batches)
    suffix = ".bin" if write is _write_binary else ""
    (folder / f"data_batch_4{suffix}").unlink()
    with pytest.raises(ConfigError, match=f"cannot read .*data_batch_4{suffix} .No such file"):
        read_cifar10(tmp_path)
    archive = _pack(folder, tmp_path / "a.tar.gz")
    with pytest.raises(ConfigError, match=f"a.tar.gz lacks data_batch_4{suffix}"):
        read_cifar10(archive)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ([1, 2], "expected a dict with data and labels, found list"),
        ({"labels": [], "fine": 1}, r"found 'fine', 'labels'"),
        (
            {"data": np.zeros((SIZE, 5), np.uint8), "labels": [0] * SIZE},
            r"expected data uint8 of shape \(20, 3072\), found uint8 of shape \(20, 5\)",
        ),
        (
            {"data": np.zeros((SIZE, 3072)), "labels": [0] * SIZE},
            "found float64 of shape",
        ),
        (
            {"data": np.zeros((SIZE, 3072), np.uint8), "labels": [0]},
            r"expected 20 integer labels, found int64 of shape \(1,\)",
        ),
    ],
)
def test_pickles_are_checked(batch, message, tmp_path, batches):
    folder = _write_python(tmp_path, batches)
    (folder / "data_batch_2").write_bytes(pickle.dumps(batch))
    with pytest.raises(ConfigError, match="data_batch_2: .*" + message):
        read_cifar10(folder)


def test_no_code_of_a_pickle_runs(tmp_path, batches):
    folder = _write_python(tmp_path, batches)
    (folder / "data_batch_1").write_bytes(b"cos\nsystem\n(S'echo'\ntR.")
    with pytest.raises(ConfigError, match=r"data_batch_1: expected a pickled .* names os\.system"):
        read_cifar10(folder)


def test_archives_that_are_none(tmp_path, batches):
    (tmp_path / "text.tar.gz").write_text("not an archive")
    with pytest.raises(ConfigError, match="text.tar.gz is not a complete zip or tar archive"):
        read_cifar10(tmp_path / "text.tar.gz")
    other = tmp_path / "other.tar.gz"
    with tarfile.open(other, "w:gz") as out:
        out.addfile(tarfile.TarInfo("readme"), io.BytesIO(b""))
    with pytest.raises(ConfigError, match="other.tar.gz is not a CIFAR-10 archive: expected"):
        read_cifar10(other)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_broken_downloads_are_told(share, tmp_path, batches):
    whole = _pack(_write_binary(tmp_path, batches), tmp_path / "whole.tar.gz").read_bytes()
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ConfigError, match="broken.tar.gz is not a complete zip or tar archive"):
        read_cifar10(broken)


def test_wrong_places_are_told(tmp_path):
    with pytest.raises(ConfigError, match="there is no .*nowhere: give --source"):
        read_cifar10(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="no CIFAR-10 in .*: expected one of cifar-10-bat"):
        read_cifar10(tmp_path)


def test_addresses_and_checksums_are_the_published_ones():
    assert BINARY.url == "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    assert BINARY.md5 == "c32a1d4ab5d03f1284b67883e8d87530"
    assert PYTHON.url == "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    assert PYTHON.md5 == "c58f30108f718f92721af3b95e74349a"
