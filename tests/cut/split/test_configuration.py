"""The YAML of both pieces."""

from __future__ import annotations

import pytest

from dualnet import config
from tests.cut.singles import CHAIN, cut_in_two

pytestmark = pytest.mark.usefixtures("workdir")


def test_coupling_of_the_yaml_is_what_was_asked_for(tmp_path):
    yaml, _, _ = cut_in_two(
        tmp_path / "nets", CHAIN, "conv2", "conv3", target="updated", tie="every",
        loss="normalized",
    )  # fmt: skip
    coupling = config.load(yaml).coupling
    assert (coupling.target, coupling.tie, coupling.loss) == ("updated", "every", "normalized")
