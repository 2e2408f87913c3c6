"""Links and their names."""

from __future__ import annotations

import pytest

from dualnet.errors import UsageError
from dualnet.exchange.link import Link


def test_a_link_and_its_ends() -> None:
    link = Link("net9", "net10")
    assert (link.name, link.index) == ("net9-net10", 8)
    assert (link.end("net9"), link.end("net10")) == ("lower", "upper")
    assert (link.other("net9"), link.other("net10")) == ("net10", "net9")
    assert Link.parse("net9-net10") == link
    with pytest.raises(UsageError, match="net9-net10: net1 is at neither end"):
        link.end("net1")


@pytest.mark.parametrize(
    "name", ["", "net1", "net1-", "net1-net1", "net0-net1", "net1-net2-net3", "single-net1", "a-b"]
)
def test_other_names_are_no_links(name: str) -> None:
    assert Link.parse(name) is None
