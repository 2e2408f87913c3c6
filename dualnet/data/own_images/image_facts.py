"""What a database of images turns out to hold: shapes, labels, means, and what cannot be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Callable, Optional

import numpy as np

from dualnet.data.own_images.image_list import Entry
from dualnet.errors import ConfigError

__all__ = ["SHOWN", "ImageFacts", "judge", "mean_image"]

#: Names that a message lists at most.
SHOWN = 10


class ImageFacts:
    """What is known of the images of a database stored so far."""

    def __init__(self) -> None:
        #: Shapes (C, H, W) and how many images have each.
        self.shapes: Counter[tuple[int, ...]] = Counter()
        self.labels: Counter[int] = Counter()
        #: Name and reason.
        self.bad: list[tuple[str, str]] = []
        #: Sum of all images while they have one shape, and of each channel.
        self.total: Optional[np.ndarray] = None
        self.channel_sums: Optional[np.ndarray] = None
        self.channel_pixels = 0
        #: Of the first image of each of the first two shapes, for messages.
        self.examples: dict[tuple[int, ...], str] = {}

    def add(self, entry: Entry, pixels: np.ndarray) -> None:
        """Take note of an image, (C, H, W) uint8."""
        self.shapes[pixels.shape] += 1
        self.labels[entry.label] += 1
        self.examples.setdefault(pixels.shape, entry.name)
        sums = pixels.sum(axis=(1, 2), dtype=np.int64)
        if self.channel_sums is None:
            self.total, self.channel_sums = np.zeros(pixels.shape, np.int64), np.zeros_like(sums)
        if self.channel_sums.shape == sums.shape:
            self.channel_sums += sums
            self.channel_pixels += pixels.shape[1] * pixels.shape[2]
        if self.total is not None and len(self.shapes) == 1:
            self.total += pixels

    @property
    def seen(self) -> int:
        """Images, those that cannot be read included."""
        return sum(self.shapes.values()) + len(self.bad)

    def channel_mean(self) -> Optional[list[float]]:
        """The mean of each channel, for `mean_value`; None where images differ in channels."""
        if self.channel_sums is None or len({shape[0] for shape in self.shapes}) != 1:
            return None
        return [round(float(total) / self.channel_pixels, 3) for total in self.channel_sums]


def judge(
    parts: Sequence[ImageFacts], check_size: bool, skip_bad: bool, log: Callable[[str], None]
) -> None:
    """Fail for images that cannot be read, or that differ where they must not.

    Args:
        parts: Of the databases, the training's first.
        check_size: All images must have one shape.
        skip_bad: Images that cannot be read are listed in a warning, and are no error.
        log: Takes lines for the user.

    Raises:
        ConfigError: Something is wrong with the images.
    """
    bad = [entry for part in parts for entry in part.bad]
    if bad and not skip_bad:
        raise ConfigError(
            f"{len(bad)} of {sum(part.seen for part in parts)} images cannot be read: "
            f"{_listed(bad)}: mend or remove them, or leave them out with --skip-bad"
        )
    if bad:
        log(f"left out {len(bad)} images that cannot be read: {_listed(bad)}")
    if not parts[0].shapes:
        raise ConfigError("no image is left to train with")
    examples = {shape: name for part in parts for shape, name in part.examples.items()}
    if check_size and len(examples) > 1:
        (first, one), (second, other) = list(examples.items())[:2]
        raise ConfigError(
            f"--check-size: the images have {len(examples)} shapes, as {one} {_shape(first)} and "
            f"{other} {_shape(second)}: give --resize HxW"
        )


def _listed(bad: list[tuple[str, str]]) -> str:
    shown = "; ".join(f"{_printable(name)} ({reason})" for name, reason in bad[:SHOWN])
    return shown + (f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else "")


def _printable(name: str) -> str:
    """A file name that may hold line breaks, or bytes that are no text."""
    return name.encode("utf-8", "backslashreplace").decode() if name.isprintable() else repr(name)


def _shape(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))


def mean_image(facts: ImageFacts, log: Callable[[str], None]) -> Optional[np.ndarray]:
    """The mean image, (C, H, W) float32; None, with a line for the user, where images differ."""
    if len(facts.shapes) == 1 and facts.total is not None:
        return (facts.total / sum(facts.shapes.values())).astype(np.float32)
    shapes = ", ".join(_shape(shape) for shape, _ in facts.shapes.most_common(3))
    log(
        f"the images have {len(facts.shapes)} shapes (most often {shapes}): there is no mean "
        "image, and batches above 1 need crop_size; give --resize HxW, or use mean_value and "
        "crop_size"
    )
    return None
