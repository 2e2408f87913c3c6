"""A data set of one's own images: `train_lmdb/`, `test_lmdb/` and `mean.binaryproto`.

The records are those of Caffe's convert_imageset, keys included ("00000042_cats/42.jpg"), and the
mean is that of its compute_image_mean. Images that cannot be read are all named before anything is
published, or left out if asked (convert_imageset leaves them out with a line in its log).
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

import numpy as np
from tqdm import tqdm

from dualnet.data.databases.lmdb import count_records, write_records
from dualnet.data.images import split_stratified
from dualnet.data.mean import write_mean
from dualnet.data.messages import messages
from dualnet.data.own_images.image_facts import SHOWN, ImageFacts, judge, mean_image
from dualnet.data.own_images.image_list import Entry, Listing, read_source, train_and_test_folders
from dualnet.data.own_images.picture import Picture, Unreadable, Wanted, prepare_picture
from dualnet.data.own_images.workers import ordered_map
from dualnet.data.publish import new_file, publish, refuse_existing, scratch_directory
from dualnet.errors import ConfigError, StorageFailed

__all__ = ["PARTS", "ImageSet", "make_image_set"]

#: What can be left in the directory.
PARTS = ("train_lmdb", "test_lmdb", "mean.binaryproto", "labels.txt")
#: LMDB's limit on a key, in bytes.
_LONGEST_KEY = 511
_KEY_DIGITS = 8


class ImageSet(NamedTuple):
    """What a data set is to be made of, and how."""

    #: A list or a folder; see image_list.py.
    source: Path
    #: The directory to leave it in.
    out: Path
    wanted: Wanted = Wanted()
    #: A list or folder of the test images; None holds some of the source's back.
    test: Optional[Path] = None
    #: The share of the images that is held back where there is no `test`.
    test_share: float = 0.2
    #: What the paths of lists are relative to; default the list's folder.
    root: Optional[Path] = None
    #: Mix a list's images; those of folders are always mixed.
    shuffle: bool = False
    seed: int = 1
    #: All images must have one size.
    check_size: bool = False
    #: Leave out images that cannot be read, instead of failing.
    skip_bad: bool = False
    workers: int = 1
    force: bool = False
    #: Show a progress bar.
    progress: bool = False


def make_image_set(
    request: ImageSet, log: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Make a data set; its parts appear together when all of them are complete.

    The same files, options and seed give the same bytes, for any number of workers.

    Args:
        request: What it is made of.
        log: Called with a line for the user, where there is something to know.

    Returns:
        A summary for people and for JSON: directory, the counts train and test, shape (None where
        images differ), classes, labels, channel_mean (blue, green, red or grey), skipped, and
        sha256 over all records.

    Raises:
        UsageError: The data set exists and `force` is not given.
        ConfigError: A list is wrong, images cannot be read, or their sizes differ with
            `check_size`.
        StorageFailed: The disk is full or cannot be written.
    """
    for part in PARTS:
        refuse_existing(request.out / part, request.force)
    train, test, classes = _choose(request, log)
    digest = hashlib.sha256()
    facts = {"train_lmdb": ImageFacts(), "test_lmdb": ImageFacts()}
    with scratch_directory(request.out / "unfinished") as unfinished:
        for part, entries in (("train_lmdb", train), ("test_lmdb", test)):
            if entries:
                records = _records(request, part, entries, facts[part], digest)
                with _one_of(unfinished / part) as path:
                    _prove(path, write_records(path, records))
        judge(list(facts.values()), request.check_size, request.skip_bad, log)
        mean = mean_image(facts["train_lmdb"], log)
        if mean is not None:
            write_mean(unfinished / "mean.binaryproto", mean)
        if classes is not None:
            with new_file(unfinished / "labels.txt") as file:
                file.write_bytes(b"".join(os.fsencode(name) + b"\n" for name in classes))
        _publish(unfinished, request)
    return _summary(request, facts, classes, digest.hexdigest())


# Which images.


def _choose(
    request: ImageSet, log: Callable[[str], None]
) -> tuple[list[Entry], list[Entry], Optional[list[str]]]:
    """The train and the test images in the order of their records, and the classes."""
    source, test = request.source, request.test
    if test is None:
        source, test = train_and_test_folders(source)
    found = read_source(source, request.root)
    _report(source, found, log)
    is_mixed = request.shuffle or source.is_dir()
    if test is not None:
        held = read_source(test, request.root, found.classes)
        _report(test, held, log)
        order = np.random.RandomState(request.seed).permutation if is_mixed else np.arange
        return (
            [found.entries[i] for i in order(len(found.entries))],
            [held.entries[i] for i in order(len(held.entries))],
            found.classes,
        )
    count = round(request.test_share * len(found.entries))
    if not 0 <= request.test_share < 1 or count == len(found.entries):
        raise ConfigError(
            f"--test-share {request.test_share:g} leaves {len(found.entries) - count} of "
            f"{len(found.entries)} images to train with: give a share from 0 to less than 1"
        )
    if count:
        log(f"held back {count} of {len(found.entries)} images for test_lmdb, of each class alike")
    labels = np.array([entry.label for entry in found.entries])
    parts = split_stratified(labels, count, request.seed)
    if not is_mixed:
        parts = np.sort(parts[0]), np.sort(parts[1])
    train, held_back = ([found.entries[i] for i in part] for part in parts)
    return train, held_back, found.classes


def _report(source: Path, found: Listing, log: Callable[[str], None]) -> None:
    if found.classes is not None:
        log(f"{source}: {len(found.entries)} images of {len(found.classes)} classes")
    if found.left_out:
        log(f"{source}: {found.left_out} files are no images by their names and are left out")
    labels = {entry.label for entry in found.entries}
    missing = sorted(set(range(max(labels) + 1)) - labels) if max(labels) < 10**6 else []
    if missing:
        names = ", ".join(map(str, missing[:SHOWN])) + (" ..." if len(missing) > SHOWN else "")
        log(f"{source}: no image has label {names}, while others go up to {max(labels)}")


# Their records.


def _records(
    request: ImageSet, part: str, entries: list[Entry], facts: ImageFacts, digest: Any
) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, serialized Datum) for each image that can be read."""
    datum_class = messages().Datum
    pictures = ordered_map(
        partial(prepare_picture, request.wanted), (entry.path for entry in entries), request.workers
    )
    shown = tqdm(
        pictures, part, len(entries), unit=" images", disable=None if request.progress else True
    )
    for number, (entry, picture) in enumerate(zip(entries, shown)):
        if isinstance(picture, Unreadable):
            facts.bad.append((entry.name, picture.reason))
            continue
        facts.add(entry, picture.pixels)
        key = _key(number, entry.name)
        value = _datum(datum_class, picture, entry.label).SerializeToString()
        for piece in (key, value):
            digest.update(len(piece).to_bytes(8, "little") + piece)
        yield key, value


def _key(number: int, name: str) -> bytes:
    """As convert_imageset's, but for names that are too long for LMDB, which lose their front."""
    head = f"{number:0{_KEY_DIGITS}d}_".encode("ascii")
    return head + os.fsencode(name)[-(_LONGEST_KEY - len(head)) :]


def _datum(datum_class: Any, picture: Picture, label: int) -> Any:
    """Field for field what convert_imageset writes."""
    if picture.compressed is not None:
        return datum_class(data=picture.compressed, label=label, encoded=True)
    channels, height, width = picture.pixels.shape
    return datum_class(
        channels=channels, height=height, width=width, data=picture.pixels.tobytes(), label=label,
        encoded=False,
    )  # fmt: skip


@contextmanager
def _one_of(path: Path) -> Iterator[Path]:
    """Whatever goes wrong while it is written, nothing of it stays."""
    try:
        yield path
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise


def _prove(path: Path, written: int) -> None:
    """Reading the database back proves that it is whole."""
    if written and count_records(path) != written:
        raise StorageFailed(f"{path}: {count_records(path)} of {written} records can be read back")


def _publish(unfinished: Path, request: ImageSet) -> None:
    for part in PARTS:
        if (unfinished / part).exists():
            publish(unfinished / part, request.out / part, request.force)
        elif request.force:
            # What an earlier call left there does not belong to these images.
            old = request.out / part
            if old.is_dir() and not old.is_symlink():
                shutil.rmtree(old)
            elif old.is_symlink() or old.exists():
                old.unlink()


def _summary(
    request: ImageSet, facts: dict[str, ImageFacts], classes: Optional[list[str]], sha256: str
) -> dict[str, Any]:
    train, test = facts["train_lmdb"], facts["test_lmdb"]
    shapes = set(train.shapes) | set(test.shapes)
    skipped = [name for part in facts.values() for name, _ in part.bad]
    return {
        "name": "images",
        "directory": str(request.out),
        "train": sum(train.shapes.values()),
        "test": sum(test.shapes.values()),
        "shape": list(next(iter(shapes))) if len(shapes) == 1 else None,
        "classes": classes,
        "labels": len(set(train.labels) | set(test.labels)),
        "channel_mean": train.channel_mean(),
        "skipped": [os.fsencode(name).decode("utf-8", "backslashreplace") for name in skipped],
        "sha256": sha256,
    }
