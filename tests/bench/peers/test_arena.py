"""Where pieces run, and one process with as much processor time as all of them."""

from __future__ import annotations

import os

import pytest

from dualnet.bench.network.link import Link
from dualnet.bench.peers.arena import arena
from dualnet.errors import UsageError

THREE = "pool1:conv2+pool2:conv3"


class Groups:
    """Remembers what it is asked for."""

    def __init__(self):
        self.made = {}

    def add(self, name, quota):
        self.made[name] = quota
        return f"{name}/cgroup.procs"


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def test_pieces_have_equal_shares_of_the_cores():
    found = arena(THREE)
    assert [place.cores for place in found.places] == [[0, 1], [2, 3], [4, 5]]
    assert found.whole.cores == [0, 1, 2, 3, 4, 5] and found.whole.threads == 6
    assert found.facts["pieces"] == 3 and not found.facts["cores_shared"]


def test_a_quota_is_for_each_piece_and_the_rival_gets_the_sum():
    groups = Groups()
    found = arena(THREE, quota=0.4, groups=groups)
    assert groups.made == pytest.approx(
        {"3-net1": 0.4, "3-net2": 0.4, "3-net3": 0.4, "3-whole": 1.2}
    )
    assert found.places[2].group == "3-net3/cgroup.procs"
    assert found.whole.group == "3-whole/cgroup.procs"
    assert (found.places[0].threads, found.whole.threads) == (1, 2)
    assert found.facts["quota"] == 0.4


def test_whole_threads_are_not_one_more_for_rounding():
    # 5 * 0.2 is 1, but 3 * (1 / 3 + 1e-9) is a little more.
    assert arena(THREE, quota=1 / 3 + 1e-9, groups=Groups()).whole.threads == 1


def test_without_groups_the_cores_are_shared_and_no_quota_is_claimed():
    found = arena(THREE, quota=0.4, groups=None)
    assert found.facts["quota"] is None and found.facts["cores_shared"]
    assert found.places[0].group == "" and found.places[0].threads == 1


def test_on_a_link_each_piece_has_a_namespace():
    found = arena("pool1:conv2", link=Link(10, 1, "netem"))
    assert [place.prefix[:4] for place in found.places] == [
        ["ip", "netns", "exec", "dualnet-a"], ["ip", "netns", "exec", "dualnet-b"]
    ]  # fmt: skip
    with pytest.raises(UsageError, match="--link and --quota"):
        arena("pool1:conv2", quota=0.4, groups=Groups(), link=Link(10, 1, "netem"))


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"cores_each": 3}, "--cores-each 3: 3 pieces need 9 cores"),
        ({"cores_each": 0}, "--cores-each 0: 3 pieces need 3 cores"),
        ({"quota": 3.0}, "--quota 3: 3 pieces may use up to 9 cores"),
        ({"quota": 0.0}, "--quota 0"),
        ({"link": Link(10, 1, "netem")}, "--link: it joins two pieces"),
    ],
)
def test_what_cannot_be_is_refused(settings, words):
    with pytest.raises(UsageError, match=words):
        arena(THREE, **settings)
