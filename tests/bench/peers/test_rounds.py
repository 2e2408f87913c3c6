"""Rounds: the order of the turns, who is left out, and the raw lines."""

from __future__ import annotations

from dualnet.bench.network.wire import Carried
from dualnet.bench.peers.methods import Method
from dualnet.bench.peers.pipeline import Timed
from dualnet.bench.peers.rounds import hopeful, rounds


class Wire:
    """A link whose process takes 40 ms of processor time in each turn."""

    def __init__(self):
        self.asked = 0

    def carried(self):
        self.asked += 1
        return Carried(cpu_s=0.040 * (self.asked // 2), packets=0, bytes=0)


def method(family, *times_s):
    series = iter(times_s)
    return Method(lambda: Timed(next(series), [0.01, 0.02]), 8, family)


def test_turns_rotate_and_lines_say_all():
    found = {name: method(name, 1.0, 1.0) for name in "abc"}
    lines = list(rounds([({"pieces": 2}, found, Wire())], 2, lambda line: None))
    assert [line["contender"] for line in lines] == ["a", "b", "c", "b", "c", "a"]
    assert [line["round"] for line in lines] == [1, 1, 1, 2, 2, 2]
    assert all(line["link_cpu_ms"] == 5.0 and line["pieces"] == 2 for line in lines)
    assert lines[0]["iteration_ms"] == 1000.0 and lines[0]["cpu_ms"] == [10.0, 20.0]
    assert lines[0]["date"].endswith("+00:00")


def test_hopeless_numbers_of_micro_batches_are_left_out_after_the_first_round():
    found = {
        "GPipe 2": method("GPipe", 0.50), "GPipe 4": method("GPipe", 0.40, 0.40),
        "GPipe 8": method("GPipe", 0.51), "1F1B 8": method("1F1B", 0.90, 0.90),
        "slow": method("slow", 2.0, 2.0),
    }  # fmt: skip
    found["GPipe 2"] = method("GPipe", 0.50, 0.30)  # at the limit
    said = []
    lines = list(rounds([({"pieces": 2}, found, None)], 2, said.append))
    second = [line["contender"] for line in lines if line["round"] == 2]
    assert sorted(second) == ["1F1B 8", "GPipe 2", "GPipe 4", "slow"]
    assert len(said) == 9
    assert said[0].startswith("round 1 of 2: 2 pieces, GPipe 2: 500.0 ms; some ")
    assert said[-1].endswith("some 0 s left")


def test_a_round_is_through_all_arenas_before_the_next():
    entries = [({"pieces": count}, {"a": method("a", 1.0, 1.0)}, None) for count in (2, 3)]
    lines = rounds(entries, 2, lambda line: None)
    assert [(line["round"], line["pieces"]) for line in lines] == [(1, 2), (1, 3), (2, 2), (2, 3)]


def test_the_best_of_each_family_stays():
    times_s = {"x 2": 1.0, "x 4": 1.26, "y 2": 5.0}
    assert hopeful(times_s, {"x 2": "x", "x 4": "x", "y 2": "y"}) == ["x 2", "y 2"]
