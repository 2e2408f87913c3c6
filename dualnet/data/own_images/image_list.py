"""Which images a data set is made of: a list as for Caffe's tools, or a folder for each class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Optional

from dualnet.engine.formats.regular_file import regular_only
from dualnet.errors import ConfigError

__all__ = ["Entry", "Listing", "read_source", "train_and_test_folders"]

#: Endings of the files that are taken from folders.
_ENDINGS = (
    ".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif",
    ".pgm", ".ppm", ".pbm", ".pnm", ".jp2",
)  # fmt: skip
_TRAIN = ("train", "training")
_TEST = ("test", "testing", "val", "valid", "validation")
_LARGEST_LABEL = 2**31 - 1


class Entry(NamedTuple):
    """One image."""

    #: As the list says, or below the folder; the record's key ends with it.
    name: str
    path: Path
    label: int


class Listing(NamedTuple):
    """The images of a source."""

    entries: list[Entry]
    #: Names of the classes by label; None where a list says only numbers.
    classes: Optional[list[str]] = None
    #: Files below a folder that are no images by their names.
    left_out: int = 0


def read_source(
    source: Path, root: Optional[Path] = None, classes: Optional[Sequence[str]] = None
) -> Listing:
    """Find the images of a list or a folder.

    Args:
        source: A text file with "PATH LABEL" on each line, or a folder with one for each class.
        root: What the paths of a list are relative to; default the list's folder.
        classes: Those of the training images, where `source` has the test images.

    Raises:
        ConfigError: There is no image, a line is wrong, or a class is unknown.
    """
    if source.is_dir():
        return _read_folder(source, classes)
    if not source.is_file():
        raise ConfigError(
            f'{source}: no such list or folder: give a text file with "PATH LABEL" on each line, '
            "or a folder with one folder for each class"
        )
    return _read_list(source, root if root is not None else source.parent)


def _read_list(source: Path, root: Path) -> Listing:
    try:
        with open(source, "rb", opener=regular_only) as file:
            text = file.read().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise ConfigError(f"{source}: cannot read the list ({error.strerror})") from error
    if "\0" in text[:4096]:
        raise ConfigError(f'{source}: not a text: a list has "PATH LABEL" on each line')
    entries = []
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        words = line.rsplit(None, 1)
        if not words:
            continue
        if len(words) < 2 or not _is_label(words[1]):
            raise ConfigError(
                f"{source}:{number}: {_shown(line)}: expected PATH LABEL, the label a whole number "
                f"from 0 to {_LARGEST_LABEL}, as in `cats/1.jpg 0`"
            )
        name = words[0].strip()
        entries.append(Entry(name, root / name, int(words[1])))
    if not entries:
        raise ConfigError(f'{source}: no image in it: a list has "PATH LABEL" on each line')
    _require_some(source, root, entries)
    return Listing(entries)


def _is_label(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < 11 and int(word) <= _LARGEST_LABEL


def _shown(line: str) -> str:
    text = line.strip().encode("utf-8", "backslashreplace").decode()
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _require_some(source: Path, root: Path, entries: list[Entry]) -> None:
    """Distinguish a wrong root from single files that are missing."""
    looked_at = entries[:100]
    if not any(os.path.lexists(entry.path) for entry in looked_at):
        raise ConfigError(
            f"{source}: none of its first {len(looked_at)} images is there, as "
            f"{looked_at[0].path}: give --root, the folder that its paths are relative to (now "
            f"{root})"
        )


def train_and_test_folders(source: Path) -> tuple[Path, Optional[Path]]:
    """A folder's own `train` and `test`, where it has these and no others; else itself and None.

    Raises:
        ConfigError: There are two of a kind, as `test` and `val`.
    """
    if not source.is_dir():
        return source, None
    names = [path.name for path in _folders(source)]
    train = [name for name in names if name.lower() in _TRAIN]
    test = [name for name in names if name.lower() in _TEST]
    if len(train) != 1 or not test or len(names) != 1 + len(test):
        return source, None
    if len(test) > 1:
        raise ConfigError(
            f"{source} has {' and '.join(test)}: give {source / train[0]} and --test, one of them"
        )
    return source / train[0], source / test[0]


def _folders(source: Path) -> list[Path]:
    try:
        found = [p for p in source.iterdir() if p.is_dir() and not p.name.startswith(".")]
    except OSError as error:
        raise ConfigError(f"{source}: cannot read the folder ({error.strerror})") from error
    return sorted(found, key=lambda path: os.fsencode(path.name))


def _read_folder(source: Path, classes: Optional[Sequence[str]]) -> Listing:
    folders = _folders(source)
    known = list(classes) if classes is not None else [path.name for path in folders]
    entries, left_out = [], 0
    for folder in folders:
        if folder.name not in known:
            raise ConfigError(
                f"{folder}: no class of the training images, which are {', '.join(known[:8])}"
                f"{' and others' if len(known) > 8 else ''}: each class has one folder in both"
            )
        label = known.index(folder.name)
        for path in _files(folder):
            if path.suffix.lower() in _ENDINGS and not path.name.startswith("."):
                entries.append(Entry(path.relative_to(source).as_posix(), path, label))
            else:
                left_out += 1
    if not entries:
        raise ConfigError(
            f"{source}: no images in its folders: expected one folder for each class, as "
            f"{source}/cat/1.jpg and {source}/dog/1.jpg"
        )
    return Listing(entries, known, left_out)


def _files(folder: Path) -> list[Path]:
    """All files below a folder, by name; links to other folders are not followed."""
    found = [Path(place) / name for place, _, names in os.walk(folder) for name in names]
    return sorted(found, key=os.fsencode)
