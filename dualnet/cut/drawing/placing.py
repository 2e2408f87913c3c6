"""The nets side by side, net1 on the left, and what passes between them in the gaps.

graphviz lays out the boxes of all nets, one layer in one row. Left to itself it may place net2 left
of net1, and write the words of an arrow where another one passes. So the nets are moved apart here,
in their order, and the arrows between them drawn from box to box:

    net1                            net2
    ┌───────┐     pool2, label     ┌───────┐
    │ pool2 ├─────────────────────>│ pool2 │       words stand above their arrow, in the gap,
    └───┬───┘                      └───┬───┘       where nothing else is
    ┌───┴───┐  ┌────────┐   z      ┌───┴────┐
    │ conv3 │  │ conv3p │<─────────┤ conv3p │
    └───────┘  └────────┘          └────────┘

An arrow whose row is not free of other boxes goes above the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from statistics import mean
from typing import Optional

from dualnet.cut.drawing.arrows import Arrow
from dualnet.cut.drawing.places import Path, Place, Places, net_of_box

__all__ = ["set_side_by_side"]

#: Points: a letter's width and a line's height in an arrow's words, the least gap between nets,
#: what is left and right of the words, an arrow's head.
_LETTER, _LINE, _GAP, _MARGIN, _HEAD = 6.2, 14.0, 36.0, 22.0, 11.0
#: The least height of a row; between the words of an arrow and the arrow above them.
_ROW, _AIR = 40.0, 6.0
#: How far above the boxes of its row an arrow passes them, and others of its kind above it.
_ABOVE, _NEXT = 9.0, 5.0

Point = tuple[float, float]


def set_side_by_side(places: Places, names: Sequence[str], arrows: Sequence[Arrow]) -> None:
    """Move the nets apart, and find a way for each arrow.

    Args:
        places: Of the boxes; changed.
        names: The nets, from left to right.
        arrows: Between the pieces of the chain.
    """
    edge = 0.0
    for left, right in zip([None, *names], names):
        widest = max((_width(one) for one in _between(left, right, arrows)), default=0.0)
        gap = max(_GAP, widest + 2 * _MARGIN) if left is not None else 0.0
        places.move(right, edge + gap - places.frames[right].left)
        edge = places.frames[right].right
    ways: dict[Arrow, Path] = {}
    for left, right in zip(names, names[1:]):
        ways.update(_cross(places, left, right, _between(left, right, arrows)))
    places.paths = [ways[arrow] for arrow in arrows]


def _between(left: Optional[str], right: str, arrows: Sequence[Arrow]) -> list[Arrow]:
    """Those from one net to the next."""
    return [
        arrow
        for arrow in arrows
        if (net_of_box(arrow.lower), net_of_box(arrow.upper)) == (left, right)
    ]


def _width(arrow: Arrow) -> float:
    """Of an arrow's words, estimated."""
    return _LETTER * max(len(arrow.words), len(arrow.shape))


def _height(arrow: Arrow) -> float:
    return _LINE * (2 if arrow.shape else 1)


class _Way:
    """The way of one arrow: out of a box, through the gap, into the other one."""

    def __init__(self, arrow: Arrow, places: Places) -> None:
        self.arrow = arrow
        self.lower, self.upper = places.boxes[arrow.lower], places.boxes[arrow.upper]
        in_lower = [one for key, one in places.boxes.items() if _is_beside(key, arrow.lower)]
        in_upper = [one for key, one in places.boxes.items() if _is_beside(key, arrow.upper)]
        #: The upper edges of boxes in the way, right of the lower box or left of the upper one.
        self.over_lower = [
            one.top for one in in_lower if _hides(one, self.lower) and one.x > self.lower.x
        ]
        self.over_upper = [
            one.top for one in in_upper if _hides(one, self.upper) and one.x < self.upper.x
        ]
        self.lower_y, self.upper_y = self.lower.y, self.upper.y
        #: Its height in the gap.
        self.y = 0.0

    @property
    def wanted_y(self) -> float:
        """The height in the gap that would be the straightest."""
        return (self.lower_y + self.upper_y) / 2


def _is_beside(key: str, other: str) -> bool:
    return key != other and net_of_box(key) == net_of_box(other)


def _hides(one: Place, other: Place) -> bool:
    """Whether two boxes are in one row."""
    return abs(one.y - other.y) < (one.height + other.height) / 2


def _cross(places: Places, left: str, right: str, arrows: Sequence[Arrow]) -> dict[Arrow, Path]:
    """The ways through one gap, from the top down."""
    ways = [_Way(arrow, places) for arrow in arrows]
    # Those that pass above boxes, or that join the same two boxes, pass each other.
    lanes: dict[int, list[float]] = {}
    for way in ways:
        for side in ("lower", "upper"):
            tops = getattr(way, f"over_{side}")
            if tops:
                # Boxes of a row are not all of one height.
                row = lanes.setdefault(round(max(tops) / _ROW), [max(tops) + _ABOVE])
                setattr(way, f"{side}_y", row[-1])
                row.append(row[-1] + _NEXT)
    _set_apart(ways)
    begin, end = places.frames[left].right, places.frames[right].left
    ways.sort(key=lambda way: -way.wanted_y)
    heights = _apart([way.wanted_y for way in ways], [_height(way.arrow) + _AIR for way in ways])
    for way, height in zip(ways, heights):
        way.y = height
    return {way.arrow: _path(way, begin, end) for way in ways}


def _apart(wanted: Sequence[float], spaces: Sequence[float]) -> list[float]:
    """Heights as near as can be to those that are wanted, with space above each for its words.

    Args:
        wanted: From the top down.
        spaces: Between each and the one above it.
    """
    # With what stands above it added to each, the heights must not rise: neighbours that would do
    # are given their mean (isotonic regression).
    above = list(accumulate([0.0, *spaces[1:]]))
    blocks: list[list[float]] = []
    for height in map(sum, zip(wanted, above)):
        blocks.append([height])
        while len(blocks) > 1 and mean(blocks[-2]) < mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    level = [mean(block) for block in blocks for _ in block]
    return [height - passed for height, passed in zip(level, above)]


def _set_apart(ways: Sequence[_Way]) -> None:
    """Ways that would lie on each other, as what goes up and its gradient, part a little."""
    by_ends: dict[tuple[Place, Place], list[_Way]] = {}
    for way in ways:
        if not way.over_lower and not way.over_upper:
            by_ends.setdefault((way.lower, way.upper), []).append(way)
    for group in by_ends.values():
        for number, way in enumerate(group):
            shift = 10.0 * ((len(group) - 1) / 2 - number)
            way.lower_y += shift
            way.upper_y += shift


def _path(way: _Way, begin: float, end: float) -> Path:
    lower, upper, is_down = way.lower, way.upper, way.arrow.is_down
    middle = (begin + end) / 2
    points: list[Point] = []
    if way.over_lower:
        start = (lower.right - 0.2 * lower.width, lower.top)
        points += [start, (start[0] + 12.0, way.lower_y)]
    else:
        points += [(lower.right, way.lower_y)]
    points += [(begin + 4.0, way.lower_y), (begin + 16.0, way.y)]
    points += [(end - 16.0, way.y), (end - 4.0, way.upper_y)]
    if way.over_upper:
        tip = (upper.left + 0.2 * upper.width, upper.top)
        points += [(tip[0] - 12.0, way.upper_y), tip]
    else:
        points += [(upper.left, way.upper_y)]
    words = (middle, way.y + _height(way.arrow) / 2 + 3.0)
    return Path(_spline(points, is_down), words)


def _spline(points: Sequence[Point], is_down: bool) -> str:
    """Straight pieces as graphviz's splines, with the arrow's head at one end."""
    points = [one for one, before in zip(points, [None, *points]) if one != before]
    head, tip = ("s", points[0]) if is_down else ("e", points[-1])
    if is_down:
        points = [_shortened(points[1], points[0]), *points[1:]]
    else:
        points = [*points[:-1], _shortened(points[-2], points[-1])]
    text = [f"{head},{_pair(tip)}", _pair(points[0])]
    for start, end in zip(points, points[1:]):
        thirds = [
            (start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1]))
            for share in (1 / 3, 2 / 3)
        ]
        text += [_pair(one) for one in (*thirds, end)]
    return " ".join(text)


def _shortened(start: Point, tip: Point) -> Point:
    """Where a line to a tip ends, for the head to begin."""
    dx, dy = tip[0] - start[0], tip[1] - start[1]
    length = (dx * dx + dy * dy) ** 0.5
    share = max(0.0, 1 - _HEAD / length) if length else 0.0
    return start[0] + share * dx, start[1] + share * dy


def _pair(point: Point) -> str:
    return f"{point[0]:.1f},{point[1]:.1f}"
