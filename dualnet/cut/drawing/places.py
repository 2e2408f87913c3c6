"""Where everything in a drawing is: the boxes of each net as graphviz lays them out, in points."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional

__all__ = ["Frame", "Path", "Place", "Places", "read_places"]

_PAIR = re.compile(r"(-?[\d.]+(?:e[-+]?\d+)?),(-?[\d.]+(?:e[-+]?\d+)?)")


class Place(NamedTuple):
    """A box: its centre and its size."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> float:
        """Where it begins."""
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        """Where it ends."""
        return self.x + self.width / 2

    @property
    def top(self) -> float:
        """Its upper edge; y grows upwards."""
        return self.y + self.height / 2

    def attributes(self) -> str:
        """In graphviz's language."""
        return f'pos="{self.x:g},{self.y:g}"'


class Frame(NamedTuple):
    """The frame around a net, and the middle of its title."""

    left: float
    bottom: float
    right: float
    top: float
    title: tuple[float, float]

    def attributes(self) -> str:
        """In graphviz's language."""
        bounds = ",".join(f"{value:g}" for value in self[:4])
        return f'bb="{bounds}"; lp="{self.title[0]:g},{self.title[1]:g}"'


class Path(NamedTuple):
    """The way of an arrow between two nets, and the middle of its words."""

    pos: str
    words: tuple[float, float]

    def attributes(self) -> str:
        """In graphviz's language."""
        return f'pos="{self.pos}", lp="{self.words[0]:.1f},{self.words[1]:.1f}"'


@dataclass
class Places:
    """Places in a drawing.

    Attributes:
        frames: Of the nets, by name.
        boxes: By the box's key.
        edges: (from, to) within a net, to the ways of the arrows between them.
        paths: Of the arrows between the nets.
    """

    frames: dict[str, Frame] = field(default_factory=dict)
    boxes: dict[str, Place] = field(default_factory=dict)
    edges: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    paths: list[Path] = field(default_factory=list)

    def move(self, net: str, dx: float) -> None:
        """Move a net to the right."""
        frame = self.frames[net]
        self.frames[net] = Frame(
            frame.left + dx, frame.bottom, frame.right + dx, frame.top,
            (frame.title[0] + dx, frame.title[1]),
        )  # fmt: skip
        for key, place in self.boxes.items():
            if net_of_box(key) == net:
                self.boxes[key] = place._replace(x=place.x + dx)

        def moved(pair: re.Match[str]) -> str:
            return f"{float(pair[1]) + dx:g},{pair[2]}"

        for ends, ways in self.edges.items():
            if net_of_box(ends[0]) == net:
                self.edges[ends] = [_PAIR.sub(moved, way) for way in ways]


def net_of_box(key: str) -> str:
    """The net that a box is in."""
    return key.partition(" ")[0]


def read_places(text: str) -> Optional[Places]:
    """Read graphviz's layout in JSON; None where something is missing in it."""
    try:
        found = json.loads(text)
        names = {one["_gvid"]: str(one["name"]) for one in found["objects"]}
        places = Places()
        for one in found["objects"]:
            name = str(one["name"])
            if name.startswith("cluster "):
                bounds, title = _numbers(one["bb"]), _numbers(one["lp"])
                left, bottom, right, top = bounds
                frame = Frame(left, bottom, right, top, (title[0], title[1]))
                places.frames[name[len("cluster ") :]] = frame
            elif "pos" in one:
                x, y = _numbers(one["pos"])
                # Sizes are in inches.
                size = 72 * float(one["width"]), 72 * float(one["height"])
                places.boxes[name] = Place(x, y, *size)
        for one in found.get("edges", []):
            if one.get("style") != "invis":
                ends = (names[one["tail"]], names[one["head"]])
                places.edges.setdefault(ends, []).append(str(one["pos"]))
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return places


def _numbers(text: Any) -> list[float]:
    return [float(part) for part in str(text).split(",")]
