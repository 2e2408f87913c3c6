"""`dualnet data`: data sets as Caffe reads them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Optional

from dualnet.cli.terminal import say
from dualnet.errors import UsageError
from dualnet.strict_json import to_json

__all__ = ["SETS", "add"]

#: What `dualnet.data.sets.prepare` knows, repeated here so that no other command has to import it.
SETS = {
    "digits": "1,797 handwritten digits, 1 x 8 x 8, inside scikit-learn: no download",
    "cifar10": "60,000 images of ten classes, 3 x 32 x 32: from --source, or downloaded",
    "cats-dogs": "photographs of cats and dogs, scaled to 3 x 227 x 227: from --source",
}

_EXAMPLES = """examples:
  dualnet data digits
  dualnet data cifar10 --source cifar-10-binary.tar.gz
  dualnet data images photographs -o data/mine --resize 256x256       a folder for each class
  dualnet data images --help                                          and lists, as Caffe's
  dualnet data convert train_leveldb -o train_lmdb
"""

_IMAGES = """Makes train_lmdb/, test_lmdb/ and mean.binaryproto of your own images: what Caffe's
convert_imageset and compute_image_mean make, with the same keys and records.

LIST_OR_FOLDER is a text file with "PATH LABEL" on each line, as for convert_imageset, or a folder
with one folder for each class, whose names in order are labels 0, 1, ... and stand in labels.txt.
A folder with `train` and `test` (or `val`) in it holds both parts."""

_IMAGES_EXAMPLES = """examples:
  dualnet data images photographs -o data/mine --resize 256x256
      photographs/cat/1.jpg, photographs/dog/1.jpg, ...: a fifth is held back for the test
  dualnet data images train.txt --test val.txt --root /data/imagenet -o data/imagenet \\
      --resize 256x256 --shuffle --encoded --encode-type jpg
  dualnet data images faces.txt -o data/faces --gray --check-size --test-share 0.1

Resizing is convert_imageset's (OpenCV's bilinear: four pixels for each, so that shrinking drops
detail); --filter antialias averages instead (Pillow's bilinear). Records of --encoded hold the file
itself where nothing is changed, otherwise a JPEG of quality 95 or a PNG by Pillow.
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    summary = "write a data set as Caffe's LMDB and mean image"
    command = commands.add_parser(
        "data", help=summary, description=summary, epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    sets = command.add_subparsers(metavar="NAME", required=True)
    for name, summary in SETS.items():
        one = sets.add_parser(name, help=summary, description=summary)
        one.set_defaults(run=_prepare, name=name)
        one.add_argument("--source", metavar="PATH", help="folder or archive to read it from")
        one.add_argument("-o", "--output", metavar="DIR", help=f"default: data/{name}")
        one.add_argument("--force", action="store_true", help="replace what is there")
    _add_images(sets)
    summary = "copy a LevelDB database, Caffe's default backend, to LMDB"
    convert = sets.add_parser(
        "convert", help=summary, description=f"{summary}; it is not changed",
        epilog="example: dualnet data convert ilsvrc12_train_leveldb -o ilsvrc12_train_lmdb",
    )  # fmt: skip
    convert.set_defaults(run=_convert)
    convert.add_argument("source", metavar="LEVELDB", help="the folder of the database")
    convert.add_argument("-o", "--output", metavar="LMDB", required=True)
    convert.add_argument("--force", action="store_true", help="replace what is there")


def _add_images(sets: Any) -> None:
    images = sets.add_parser(
        "images", help="your own images, from a list or a folder for each class",
        description=_IMAGES, epilog=_IMAGES_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    images.set_defaults(run=_images)
    images.add_argument("source", metavar="LIST_OR_FOLDER")
    images.add_argument("-o", "--output", metavar="DIR", required=True)
    images.add_argument("--test", metavar="LIST_OR_FOLDER", help="the test images")
    images.add_argument(
        "--test-share", type=float, metavar="S",
        help="without --test: the share of images held back, of each class alike (default: 0.2)",
    )  # fmt: skip
    images.add_argument(
        "--root", metavar="DIR", help="what a list's paths are relative to (default: its folder)"
    )
    size = images.add_mutually_exclusive_group()
    size.add_argument("--resize", metavar="HxW", help="as 256x256; proportions are not kept")
    size.add_argument(
        "--resize-shorter", type=int, default=0, metavar="N",
        help="the shorter side, in proportion (no mean image then)",
    )  # fmt: skip
    images.add_argument(
        "--filter", choices=("caffe", "antialias"), default="caffe",
        help="how images are resized, see below (default: caffe)",
    )  # fmt: skip
    images.add_argument("--gray", action="store_true", help="one channel")
    images.add_argument(
        "--shuffle", action="store_true", help="mix a list's images; folders' always are"
    )
    images.add_argument("--seed", type=int, default=1, help="of mixing and splitting (default: 1)")
    images.add_argument("--encoded", action="store_true", help="keep images compressed")
    images.add_argument(
        "--encode-type", choices=("jpg", "png"), default="",
        help="with --encoded (default: as each file's name says)",
    )  # fmt: skip
    images.add_argument(
        "--check-size", action="store_true", help="fail where images have several sizes"
    )
    images.add_argument(
        "--skip-bad", action="store_true", help="leave out images that cannot be read"
    )
    images.add_argument("--workers", type=int, metavar="N", help="processes (default: all cores)")
    images.add_argument("--force", action="store_true", help="replace what is there")


def _prepare(options: argparse.Namespace) -> None:
    from dualnet.data.sets.prepare import prepare

    summary = prepare(
        options.name, options.source, options.output, options.force, progress=True, log=say
    )
    print(to_json(summary))


def _convert(options: argparse.Namespace) -> None:
    from dualnet.data.databases.convert import convert_leveldb

    source, out = Path(options.source), Path(options.output)
    print(to_json(convert_leveldb(source, out, options.force, progress=True)))


def _images(options: argparse.Namespace) -> None:
    from dualnet.data.own_images.image_set import ImageSet, make_image_set
    from dualnet.data.own_images.picture import Wanted
    from dualnet.data.own_images.workers import usable_cores

    if options.encode_type and not options.encoded:
        raise UsageError(f"--encode-type {options.encode_type}: only with --encoded")
    if options.test and options.test_share is not None:
        raise UsageError(f"--test-share {options.test_share:g}: only without --test {options.test}")
    workers = options.workers if options.workers is not None else usable_cores()
    if workers < 1:
        raise UsageError(f"--workers {workers}: at least 1")
    if options.resize_shorter < 0:
        raise UsageError(f"--resize-shorter {options.resize_shorter}: at least 1 pixel")
    wanted = Wanted(
        color=not options.gray, size=_size(options.resize), shorter=options.resize_shorter,
        filter=options.filter, encoded=options.encoded, encode_type=options.encode_type,
    )  # fmt: skip
    request = ImageSet(
        Path(options.source), Path(options.output), wanted,
        test=Path(options.test) if options.test else None,
        test_share=0.2 if options.test_share is None else options.test_share,
        root=Path(options.root) if options.root is not None else None,
        shuffle=options.shuffle, seed=_seed(options.seed), check_size=options.check_size,
        skip_bad=options.skip_bad, workers=workers, force=options.force, progress=True,
    )  # fmt: skip
    print(to_json(make_image_set(request, say)))


def _size(text: Optional[str]) -> Optional[tuple[int, int]]:
    """(height, width) of "256x256", or of "256" for both."""
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(
        side.isascii() and side.isdigit() and 0 < int(side[:6]) <= 2**16 for side in sides
    ):
        raise UsageError(f"--resize {text}: expected HEIGHTxWIDTH in pixels, as 256x256")
    return int(sides[0]), int(sides[-1])


def _seed(seed: int) -> int:
    if not 0 <= seed < 2**32:
        raise UsageError(f"--seed {seed}: from 0 to {2**32 - 1}")
    return seed
