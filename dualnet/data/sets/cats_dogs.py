"""Photographs of cats and dogs (thesis section 7.2), of any size, scaled to 227 x 227.

What a photograph shows is known from a folder above it (cat, cats, dog, dogs) or from its name, as
in Kaggle's Dogs vs. Cats (train/cat.0.jpg); those below a folder `test` are the test part. Where
there are none with a label (Kaggle's have none), a fifth of each class is held back for the test.

Images are scaled without keeping their proportions, and the planes are blue, green, red, both as
in Caffe's tools/convert_imageset.cpp, so that models and means for Caffe fit.
"""

from __future__ import annotations

import io
import re
import tempfile
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, Callable, NamedTuple, Optional, cast

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from dualnet.data.archives.archive import DAMAGED, damaged, open_tar, read_limited
from dualnet.data.images import Images, Reordered, split_stratified
from dualnet.data.publish import storage_error
from dualnet.engine.formats.regular_file import read_at_most
from dualnet.errors import ConfigError

__all__ = ["CLASSES", "SIZE_PX", "find_archive", "read_cats_dogs"]

CLASSES = ("cat", "dog")
SIZE_PX = 227
_SHAPE = (3, SIZE_PX, SIZE_PX)
#: Share of the test part, where the source has none.
_TEST_SHARE = 0.2
_SEED = 227

_FOLDERS = {"cat": 0, "cats": 0, "dog": 1, "dogs": 1}
_NAME = re.compile(r"(cat|dog)s?[._-]", re.IGNORECASE)
#: Since Pillow 9.1 it is in an enumeration, too, which alone its type hints know.
_BILINEAR: Any = getattr(Image, "Resampling", Image).BILINEAR
_EXTENSIONS = (".jpg", ".jpeg", ".png")
#: Usual names of the archive, which is searched for where the data set goes.
_ARCHIVES = ("cats-dogs.tar.xz", "cats-dogs.zip", "dogs-vs-cats.zip", "train.zip")
#: Bytes of a picture's file; Pillow itself refuses to decode more than 179 megapixels.
_LARGEST_PICTURE = 1 << 28


class _Photograph(NamedTuple):
    """One whose image is in the file of scaled images."""

    name: str
    label: int
    is_test: bool


def find_archive(folder: Path) -> Optional[Path]:
    """Return an archive of the data set that lies in `folder`, or None."""
    return next((folder / name for name in _ARCHIVES if (folder / name).is_file()), None)


def read_cats_dogs(
    source: Path,
    scratch: Path,
    progress: bool = False,
    log: Callable[[str], None] = lambda line: None,
) -> tuple[Images, Images]:
    """Scale the photographs of a folder or an archive (zip, tar, compressed or not).

    The scaled images wait in a file without a name, which the system removes with the process, as
    they are too many for the memory. Both parts come in mixed order, always the same one for the
    same names: Caffe's Data layer reads sequentially and never shuffles.

    Args:
        source: The folder or archive.
        scratch: A directory with room for that file.
        progress: Show a progress bar.
        log: Called with a line for each photograph that cannot be read, which is left out.

    Returns:
        Train and test images, (N, 3, 227, 227) uint8, and their labels, 0 for cats, 1 for dogs.

    Raises:
        ConfigError: `source` is missing or damaged, or has no photographs of both.
        StorageFailed: The disk is full or cannot be written.
    """
    source = Path(source)
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=str(scratch)) as file:
            found = list(_scale_all(source, file, progress, log))
            file.flush()
            _require_both(source, found)
            scaled = np.memmap(file, np.uint8, "r", shape=(len(found), *_SHAPE))
    except OSError as error:
        raise storage_error(scratch, "write the scaled images to", error) from error
    train, test = _split(found)
    labels = np.array([photograph.label for photograph in found], np.uint8)
    return (
        Images(Reordered(scaled, train), labels[train]),
        Images(Reordered(scaled, test), labels[test]),
    )


def _require_both(source: Path, found: list[_Photograph]) -> None:
    for label, name in enumerate(CLASSES):
        if not any(photograph.label == label for photograph in found):
            raise ConfigError(
                f"{source}: no photograph of a {name} in it: expected {name}.0.jpg, {name}.1.jpg, "
                f"... or a folder {name} (an archive within an archive is to be unpacked first)"
            )


def _scale_all(
    source: Path, file: IO[bytes], progress: bool, log: Callable[[str], None]
) -> Iterator[_Photograph]:
    """Append each readable photograph to the file and yield what it is."""
    entries, total = _entries(source)
    skipped = []
    for name, read in tqdm(
        entries, desc="scaling", unit=" photographs", total=total, disable=not progress
    ):
        label = _label_of(name)
        if label is None:
            continue
        try:
            image = _scale(read())
        except Exception as error:  # a damaged picture can make Pillow raise nearly anything
            skipped.append(f"{name}: {' '.join(str(error).split()) or type(error).__name__}")
            continue
        file.write(image.tobytes())
        yield _Photograph(name, label, "test" in PurePosixPath(name.lower()).parts[:-1])
    for line in skipped:
        log(f"skipped {line}")
    if skipped:
        log(f"{len(skipped)} photographs cannot be read and were skipped")


def _label_of(name: str) -> Optional[int]:
    """0 or 1, or None for what is no photograph of either."""
    path = PurePosixPath(name)
    if path.suffix.lower() not in _EXTENSIONS or path.name.startswith("."):
        return None
    for folder in reversed(path.parts[:-1]):
        if folder.lower() in _FOLDERS:
            return _FOLDERS[folder.lower()]
    match = _NAME.match(path.name)
    return CLASSES.index(match.group(1).lower()) if match else None


def _scale(content: bytes) -> np.ndarray:
    """(3, 227, 227) uint8, planes blue, green, red."""
    with Image.open(io.BytesIO(content)) as picture:
        upright = ImageOps.exif_transpose(picture).convert("RGB")
    pixels = np.asarray(upright.resize((SIZE_PX, SIZE_PX), _BILINEAR))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[::-1])


def _split(found: list[_Photograph]) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the train and of the test images, each in mixed order."""
    # By name first: an archive may list them in any order.
    order = np.array(sorted(range(len(found)), key=lambda i: found[i].name), int)
    is_test = np.array([found[i].is_test for i in order])
    if not is_test.any():
        labels = np.array([found[i].label for i in order])
        train, test = split_stratified(labels, round(_TEST_SHARE * len(order)), _SEED)
        return order[train], order[test]
    random = np.random.RandomState(_SEED)
    return random.permutation(order[~is_test]), random.permutation(order[is_test])


# Where photographs come from: (name with forward slashes, function that reads the content).

_Entry = tuple[str, Callable[[], bytes]]


def _entries(source: Path) -> tuple[Iterator[_Entry], Optional[int]]:
    """All files of a folder or archive, and how many there are if that is known beforehand."""
    if source.is_dir():
        files = sorted(path for path in source.rglob("*") if path.is_file())
        return (
            (path.relative_to(source).as_posix(), partial(_read_picture, path)) for path in files
        ), len(files)
    if not source.exists():
        raise ConfigError(f"there is no {source}: give --source the folder or archive")
    try:
        if zipfile.is_zipfile(str(source)):
            archive = zipfile.ZipFile(str(source))
            return _zip_entries(archive), len(archive.namelist())
    except DAMAGED as error:
        raise damaged(source, error) from error
    return _tar_entries(source), None


def _read_picture(path: Path) -> bytes:
    return read_at_most(str(path), _LARGEST_PICTURE)


def _zip_entries(archive: zipfile.ZipFile) -> Iterator[_Entry]:
    def read(name: str) -> bytes:
        with archive.open(name) as stream:
            return read_limited(stream, _LARGEST_PICTURE, name)

    with archive:
        for name in archive.namelist():
            yield name, partial(read, name)


def _tar_entries(source: Path) -> Iterator[_Entry]:
    with open_tar(source) as archive:
        for member in archive:
            if member.isfile():
                # Read at once: whether the stream is damaged shows here, not in the picture.
                stream = cast(IO[bytes], archive.extractfile(member))
                content = read_limited(stream, _LARGEST_PICTURE, member.name)
                yield member.name, partial(bytes, content)
