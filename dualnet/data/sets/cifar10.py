"""CIFAR-10 in its two official formats, from folders, archives or the official site.

Both formats hold five training batches and a test batch of 10,000 images each. The binary one is a
file of records, one label byte and then 3,072 pixel bytes (red plane, green plane, blue plane); the
Python one is a pickled dict with "data", (10000, 3072) uint8 in the same plane order, and "labels".
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Callable, NamedTuple

import numpy as np

from dualnet.config.yaml_text import shown
from dualnet.data.archives.archive import open_tar, read_limited
from dualnet.data.archives.download import md5_of
from dualnet.data.archives.safe_pickle import load_arrays
from dualnet.data.images import Images
from dualnet.engine.formats.regular_file import read_at_most
from dualnet.errors import ConfigError

__all__ = ["ARCHIVES", "CLASSES", "Archive", "find_archive", "read_cifar10"]

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"
)  # fmt: skip
_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32
_BATCH_SIZE = 10_000
#: Bytes; a batch has 31 MB, all of them 186 MB.
_LARGEST_BATCH = 1 << 26
_LARGEST_ARCHIVE = 1 << 30


class Archive(NamedTuple):
    """One of the archives on the official site, https://www.cs.toronto.edu/~kriz/cifar.html."""

    file_name: str
    md5: str
    folder: str
    #: Added to a batch's name to give its file name.
    suffix: str

    @property
    def url(self) -> str:
        """Where the archive is published."""
        return "https://www.cs.toronto.edu/~kriz/" + self.file_name


BINARY = Archive(
    "cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", "cifar-10-batches-bin", ".bin"
)
PYTHON = Archive(
    "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", "cifar-10-batches-py", ""
)
ARCHIVES = (BINARY, PYTHON)

_TRAIN = tuple(f"data_batch_{k}" for k in range(1, 6))
_TEST = ("test_batch",)


def read_cifar10(
    source: Path, log: Callable[[str], None] = lambda line: None
) -> tuple[Images, Images]:
    """Read CIFAR-10 from what a user has of it.

    Args:
        source: One of the archives; a folder cifar-10-batches-bin or cifar-10-batches-py; or a
            folder that holds one of these four.
        log: Called with a line for the user, as that an archive is not the published one.

    Returns:
        Train and test images, in the order of the files.

    Raises:
        ConfigError: `source` is none of these, or a file in it is missing or damaged.
    """
    kind, found = _find(Path(source))
    if found.is_dir():
        files = [_read_member(found, name, kind) for name in _TRAIN + _TEST]
    else:
        files = _read_archive(found, kind, log)
    decode = _decode_binary if kind is BINARY else _decode_pickle
    batches = [decode(*file) for file in files]
    train, test = batches[: len(_TRAIN)], batches[len(_TRAIN) :]
    return _join(train), _join(test)


def _join(batches: list[Images]) -> Images:
    images = np.concatenate([batch.images for batch in batches])
    return Images(images, np.concatenate([batch.labels for batch in batches]))


def _find(source: Path) -> tuple[Archive, Path]:
    """Return which format is there, and the folder with its batches or the archive."""
    if source.is_file():
        return _kind_of_archive(source), source
    for kind in ARCHIVES:
        for folder in (source, source / kind.folder):
            if (folder / (_TRAIN[0] + kind.suffix)).is_file():
                return kind, folder
    for kind in ARCHIVES:
        if (source / kind.file_name).is_file():
            return kind, source / kind.file_name
    if not source.exists():
        raise ConfigError(f"there is no {source}: give --source the CIFAR-10 archive or its folder")
    wanted = ", ".join(name for kind in ARCHIVES for name in (kind.folder, kind.file_name))
    raise ConfigError(f"no CIFAR-10 in {source}: expected one of {wanted} there")


def _kind_of_archive(path: Path) -> Archive:
    """Recognise the format by the content, since people rename archives."""
    with open_tar(path, _LARGEST_ARCHIVE) as archive:
        for member in archive:
            for kind in ARCHIVES:
                if member.name.split("/")[-2:] == [kind.folder, _TRAIN[0] + kind.suffix]:
                    return kind
    names = " or ".join(f"{kind.folder}/{_TRAIN[0]}{kind.suffix}" for kind in ARCHIVES)
    raise ConfigError(f"{path} is not a CIFAR-10 archive: expected {names} in it, found neither")


def _read_archive(path: Path, kind: Archive, log: Callable[[str], None]) -> list[tuple[str, bytes]]:
    """Return (name, content) of each batch file; nothing is unpacked to disk."""
    digest = md5_of(path)
    if digest != kind.md5:
        log(f"{path} is not the published {kind.file_name} (MD5 {digest}, published {kind.md5})")
    names = [name + kind.suffix for name in _TRAIN + _TEST]
    contents = {}
    with open_tar(path, _LARGEST_ARCHIVE) as archive:
        for member in archive:
            name = member.name.split("/")[-1]
            stream = archive.extractfile(member) if member.isfile() and name in names else None
            if stream is not None:
                contents[name] = read_limited(stream, _LARGEST_BATCH, name)
    for name in names:
        if name not in contents:
            raise ConfigError(f"{path} lacks {name}: expected {', '.join(names)} in it")
    return [(f"{path}:{name}", contents[name]) for name in names]


def _read_member(folder: Path, name: str, kind: Archive) -> tuple[str, bytes]:
    path = folder / (name + kind.suffix)
    try:
        return str(path), read_at_most(str(path), _LARGEST_BATCH)
    except OSError as error:
        raise ConfigError(
            f"cannot read {path} ({error.strerror}): unpack the archive again"
        ) from error


def _decode_binary(name: str, content: bytes) -> Images:
    expected = _BATCH_SIZE * (1 + _PIXELS)
    if len(content) != expected:
        raise ConfigError(
            f"{name}: expected {expected} bytes, found {len(content)}: unpack it again"
        )
    records = np.frombuffer(content, np.uint8).reshape(_BATCH_SIZE, 1 + _PIXELS)
    return _checked(name, records[:, 1:], records[:, 0])


def _decode_pickle(name: str, content: bytes) -> Images:
    try:
        batch = load_arrays(content)
    except pickle.UnpicklingError as error:
        raise ConfigError(f"{name}: expected a pickled CIFAR-10 batch, found {error}") from error
    if not isinstance(batch, dict) or not {"data", "labels"} <= set(batch):
        found = _named(batch) if isinstance(batch, dict) else type(batch).__name__
        raise ConfigError(f"{name}: expected a dict with data and labels, found {found}")
    pixels, labels = _array(name, "data", batch), _array(name, "labels", batch)
    if pixels.dtype != np.uint8 or pixels.shape != (_BATCH_SIZE, _PIXELS):
        raise ConfigError(
            f"{name}: expected data uint8 of shape {(_BATCH_SIZE, _PIXELS)}, found {pixels.dtype} "
            f"of shape {pixels.shape}"
        )
    if labels.dtype.kind not in "iu" or labels.shape != (_BATCH_SIZE,):
        raise ConfigError(
            f"{name}: expected {_BATCH_SIZE} integer labels, found {labels.dtype} of shape "
            f"{labels.shape}"
        )
    return _checked(name, pixels, labels)


def _named(batch: dict[Any, Any]) -> str:
    return ", ".join(sorted(map(shown, batch))[:10]) or "nothing"


def _array(name: str, key: str, batch: dict[str, Any]) -> np.ndarray:
    """A batch's array; a list is taken too, as the labels are one, unless lists are in it."""
    value = batch[key]
    # Lists of the same list stand for billions of numbers, which NumPy would write out.
    if isinstance(value, np.ndarray) or (
        isinstance(value, list) and all(isinstance(item, int) for item in value)
    ):
        return np.asarray(value)
    raise ConfigError(f"{name}: expected {key} as an array, found {shown(value)}")


def _checked(name: str, pixels: np.ndarray, labels: np.ndarray) -> Images:
    wrong = np.flatnonzero((labels < 0) | (labels >= len(CLASSES)))
    if wrong.size:
        raise ConfigError(
            f"{name}: expected labels 0 to {len(CLASSES) - 1}, found {labels[wrong[0]]} at image "
            f"{wrong[0]} ({wrong.size} wrong labels): the file is damaged or another data set"
        )
    return Images(pixels.reshape(-1, *_SHAPE), labels.astype(np.uint8))


def find_archive(folder: Path) -> Path | None:
    """Return a CIFAR-10 archive that an earlier download left in `folder`, or None."""
    for kind in ARCHIVES:
        if (folder / kind.file_name).is_file():
            return folder / kind.file_name
    return None
