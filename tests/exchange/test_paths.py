"""Names in the exchange directory, written and read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualnet.errors import UsageError
from dualnet.exchange.paths import DataName, RunPaths, check_kind


@given(
    st.builds(
        DataName,
        piece=st.sampled_from(["net1", "net2"]),
        iteration=st.integers(0, 10**12 - 1),
        kind=st.from_regex(r"[a-z0-9_-]{1,32}", fullmatch=True),
        array=st.text(min_size=1, max_size=20),
        seq=st.integers(0, 10**12 - 1),
        epoch=st.integers(1, 10**6 - 1),
        attempt=st.integers(0, 9),
    )
)
def test_data_name_round_trip(name: DataName) -> None:
    text = str(name)
    assert "/" not in text and text.endswith(".npy")
    assert DataName.parse(text) == name


@pytest.mark.parametrize("name", ["", "net1.npy", "secret", "x.npy", "../net1.gen.000001"])
def test_foreign_names_are_ignored(name: str) -> None:
    assert DataName.parse(name) is None
    assert RunPaths.parse_generation(name) is None
    assert RunPaths.parse_temporary(name) is None


def test_own_names_are_recognised() -> None:
    paths = RunPaths("/x")
    generation = paths.generation("net1", 7).rpartition("/")[2]
    temporary = paths.temporary("net2", 3, "0f").rpartition("/")[2]
    assert paths.parse_generation(generation) == ("net1", 7)
    assert paths.parse_temporary(temporary) == ("net2", 3)


@pytest.mark.parametrize("kind", ["", "Train", "a.b", "a/b", "x" * 33, "train\n"])
def test_bad_stage_names(kind: str) -> None:
    with pytest.raises(UsageError, match="kind"):
        check_kind(kind)
