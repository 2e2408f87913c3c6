"""The data sets that `dualnet data` prepares."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Callable, NamedTuple

import numpy as np
from tqdm import tqdm

from dualnet.data.archives.download import download
from dualnet.data.databases.lmdb import read_lmdb, write_lmdb
from dualnet.data.images import Images
from dualnet.data.mean import compute_mean, write_mean
from dualnet.data.publish import publish, refuse_existing, scratch_directory
from dualnet.data.sets import cats_dogs, cifar10, digits
from dualnet.errors import UsageError

__all__ = ["DATA_SETS", "PARTS", "DataSet", "default_directory", "prepare"]

#: What `prepare` leaves in the directory of a data set.
PARTS = ("train_lmdb", "test_lmdb", "mean.binaryproto")


class Request(NamedTuple):
    """What a data set is to be read from, and how."""

    #: What the user gave as --source.
    source: Path | None
    #: Where the data set goes; a download is kept there.
    out: Path
    #: Show progress bars.
    progress: bool
    #: Called with a line for the user.
    log: Callable[[str], None]


class DataSet(NamedTuple):
    """A data set by name."""

    name: str
    #: One line for `dualnet data --help`.
    summary: str
    classes: tuple[str, ...]
    #: Gives the train and the test images.
    read: Callable[[Request], tuple[Images, Images]]
    #: Of the colours of an image; BGR is that of OpenCV, with which Caffe reads images.
    channel_order: str = "BGR"


def _read_digits(request: Request) -> tuple[Images, Images]:
    if request.source is not None:
        raise UsageError(
            f"digits come with scikit-learn and are read from nowhere else: leave out --source "
            f"{request.source}"
        )
    return digits.read_digits()


def _read_cifar10(request: Request) -> tuple[Images, Images]:
    source = request.source or cifar10.find_archive(request.out)
    if source is None:
        archive = cifar10.BINARY
        source = request.out / archive.file_name
        download(archive.url, source, archive.md5, request.progress)
    return cifar10.read_cifar10(source, request.log)


def _read_cats_dogs(request: Request) -> tuple[Images, Images]:
    source = request.source or cats_dogs.find_archive(request.out)
    if source is None:
        raise UsageError(
            "cats-dogs has no free download: give --source the folder or archive of Kaggle's Dogs "
            "vs. Cats, or of any photographs called cat.N.jpg and dog.N.jpg"
        )
    return cats_dogs.read_cats_dogs(source, request.out, request.progress, request.log)


DATA_SETS: dict[str, DataSet] = {
    entry.name: entry
    for entry in (
        DataSet(
            "digits",
            "1,797 handwritten digits, 1 x 8 x 8, inside scikit-learn: no download",
            digits.CLASSES,
            _read_digits,
        ),
        DataSet(
            "cifar10",
            "60,000 images of ten classes, 3 x 32 x 32: from --source, or downloaded",
            cifar10.CLASSES,
            _read_cifar10,
            channel_order="RGB",
        ),
        DataSet(
            "cats-dogs",
            "photographs of cats and dogs, scaled to 3 x 227 x 227: from --source",
            cats_dogs.CLASSES,
            _read_cats_dogs,
        ),
    )
}


def default_directory(name: str) -> Path:
    """Return where a data set goes, and where the shipped prototxt expect it.

    Args:
        name: Of the data set.
    """
    return Path("data") / name


def prepare(
    name: str,
    source: str | Path | None = None,
    out: str | Path | None = None,
    force: bool = False,
    progress: bool = False,
    log: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Write a data set as train_lmdb/, test_lmdb/ and mean.binaryproto (of the training images).

    The three appear together when all of them are complete.

    Args:
        name: A key of `DATA_SETS`.
        source: A file or folder to read it from; by default it is downloaded if need be.
        out: The directory to leave it in; by default data/NAME.
        force: Replace what an earlier call left there.
        progress: Show progress bars.
        log: Called with a line for the user, where there is something to know.

    Returns:
        A summary for people and for JSON: name, directory, the counts train and test, shape,
        classes, and sha256 over all labels and pixels.

    Raises:
        UsageError: The name is unknown, or the data set exists and `force` is not given.
        ConfigError: The source is not the data set.
        StorageFailed: The disk is full or cannot be written.
        DualnetError: The download failed.
    """
    if name not in DATA_SETS:
        raise UsageError(f"there is no data set {name!r}: choose one of {', '.join(DATA_SETS)}")
    out = Path(out) if out is not None else default_directory(name)
    for part in PARTS:
        refuse_existing(out / part, force)
    source = Path(source) if source is not None else None
    train, test = DATA_SETS[name].read(Request(source, out, progress, log))
    # Built beside the final place: a rename within one file system cannot fail half-way.
    with scratch_directory(out / "unfinished") as unfinished:
        for part, images in zip(PARTS, (train, test)):
            shown = tqdm(images.images, desc=part, unit=" images", disable=not progress)
            write_lmdb(unfinished / part, shown, images.labels)
        # Reading the database back proves it, and is what compute_image_mean does.
        stored = (record.image for record in read_lmdb(unfinished / PARTS[0]))
        write_mean(unfinished / PARTS[2], compute_mean(stored))
        for part in PARTS:
            publish(unfinished / part, out / part, force)
    return {
        "name": name,
        "directory": str(out),
        "train": len(train.labels),
        "test": len(test.labels),
        "shape": list(train.images.shape[1:]),
        "classes": list(DATA_SETS[name].classes),
        "sha256": _digest(train, test),
    }


def _digest(*parts: Images) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for image in part.images:  # they may be more than fit into memory
            digest.update(np.ascontiguousarray(image).data)
        digest.update(np.ascontiguousarray(part.labels).data)
    return digest.hexdigest()
