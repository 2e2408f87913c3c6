"""Nets side by side, and the ways of the arrows between them."""

from __future__ import annotations

import re

import pytest

from dualnet.cut.drawing.arrows import Arrow
from dualnet.cut.drawing.places import Frame, Place, Places, read_places
from dualnet.cut.drawing.placing import _apart, set_side_by_side

UP = Arrow(0, "net1 pool", "net2 feed pool", "pool and label", "64×32×2×2", False)
DOWN = Arrow(0, "net1 feed copy", "net2 copy", "copy − γ · gradient", "64×32×2×2", True)


@pytest.fixture
def places():
    """net2 left of net1, as graphviz may place them."""
    return Places(
        frames={
            "net1": Frame(500.0, 0.0, 900.0, 300.0, (700.0, 290.0)),
            "net2": Frame(0.0, 0.0, 200.0, 300.0, (100.0, 290.0)),
        },
        boxes={
            "net1 pool": Place(600.0, 200.0, 180.0, 40.0),
            "net1 dual": Place(600.0, 100.0, 180.0, 40.0),
            "net1 feed copy": Place(800.0, 100.0, 180.0, 40.0),
            "net2 feed pool": Place(100.0, 200.0, 180.0, 40.0),
            "net2 copy": Place(100.0, 100.0, 180.0, 40.0),
        },
        edges={("net1 pool", "net1 dual"): ["e,600,120 600,180 600,170 600,140 600,130"]},
    )


def points(path):
    """The corners of an arrow's way, its tip among them, from left to right."""
    head, first, *rest = path.pos.split()
    pairs = [first, *rest[2::3]]
    corners = [tuple(map(float, pair.split(","))) for pair in pairs]
    tip = tuple(map(float, head[2:].split(",")))
    return [tip, *corners] if head.startswith("s") else [*corners, tip]


def test_nets_stand_in_their_order_with_room_for_the_words(places):
    set_side_by_side(places, ["net1", "net2"], [UP, DOWN])
    one, two = places.frames["net1"], places.frames["net2"]
    assert one.left == 0.0 and two.left - one.right > 6 * len(DOWN.words)
    assert places.boxes["net1 pool"].x == 100.0
    assert places.boxes["net2 copy"].x == two.left + 100.0
    assert places.edges["net1 pool", "net1 dual"] == ["e,100,120 100,180 100,170 100,140 100,130"]
    for path in places.paths:
        assert path.words[0] == pytest.approx((one.right + two.left) / 2)


def test_arrows_go_straight_from_box_to_box(places):
    set_side_by_side(places, ["net1", "net2"], [UP, DOWN])
    up, down = map(points, places.paths)
    boxes = places.boxes
    assert up[0] == (boxes["net1 pool"].right, 200.0)
    assert up[-1] == (boxes["net2 feed pool"].left, 200.0)
    assert down[0] == (boxes["net1 feed copy"].right, 100.0)
    assert down[-1] == (boxes["net2 copy"].left, 100.0)
    assert {y for _, y in up} == {200.0} and {y for _, y in down} == {100.0}
    # The head is at the end that it comes to.
    assert places.paths[0].pos.startswith("e,") and places.paths[1].pos.startswith("s,")
    assert [path.words[1] - y for path, y in zip(places.paths, (200.0, 100.0))] == [17.0, 17.0]


def test_two_ways_between_the_same_boxes_lie_beside_each_other(places):
    back = Arrow(0, UP.lower, UP.upper, "gradient", "", True)
    set_side_by_side(places, ["net1", "net2"], [UP, back])
    up, down = map(points, places.paths)
    assert up[0][1] - down[0][1] == 10.0 and up[-1][1] - down[-1][1] == 10.0
    # The words of the lower one have room below the upper one.
    assert max(y for _, y in up) - min(y for _, y in down) == 20.0


def test_a_way_passes_above_boxes(places):
    places.boxes["net1 branch"] = Place(800.0, 205.0, 180.0, 40.0)
    set_side_by_side(places, ["net1", "net2"], [UP, DOWN])
    way = points(places.paths[0])
    branch = places.boxes["net1 branch"]
    passing = [
        y for (x, y), (later, _) in zip(way, way[1:]) if x <= branch.left and later >= branch.right
    ]
    assert way[0][1] == 220.0 and passing and min(passing) > branch.top - 1


def test_places_are_read_from_graphviz():
    text = """{"objects": [
      {"name": "cluster net1", "_gvid": 0, "bb": "8,8,400,300", "lp": "200,290"},
      {"name": "net1 a", "_gvid": 1, "pos": "100,200", "width": "2.5", "height": "0.5"},
      {"name": "net1 b", "_gvid": 2, "pos": "100,100", "width": "2.5", "height": "0.5"}],
      "edges": [{"tail": 1, "head": 2, "pos": "e,100,118 100,182"},
                {"tail": 1, "head": 2, "style": "invis", "pos": "100,1"}]}"""
    places = read_places(text)
    assert places.frames == {"net1": Frame(8.0, 8.0, 400.0, 300.0, (200.0, 290.0))}
    assert places.boxes["net1 a"] == Place(100.0, 200.0, 180.0, 36.0)
    assert places.edges == {("net1 a", "net1 b"): ["e,100,118 100,182"]}
    assert re.match('bb="8,8,400,300"; lp="200,290"', places.frames["net1"].attributes())


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"objects": [{"name": "cluster a", "_gvid": 0}]}', "null"]
)
def test_what_is_no_layout_is_refused(text):
    assert read_places(text) is None


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([], []),
        ([100.0], [100.0]),
        ([100.0, 50.0], [100.0, 50.0]),
        ([100.0, 100.0], [110.0, 90.0]),
        ([100.0, 90.0, 80.0, 0.0], [110.0, 90.0, 70.0, 0.0]),
    ],
)
def test_heights_are_near_those_that_are_wanted(wanted, expected):
    assert _apart(wanted, [20.0] * len(wanted)) == pytest.approx(expected)
