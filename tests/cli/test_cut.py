"""What `dualnet split` makes of its arguments."""

from __future__ import annotations

import pytest

from dualnet.cli.cut import parse_shape
from dualnet.errors import UsageError


@pytest.mark.parametrize("shape", ["data", "data=", "data=3,x", "data=3,0", "=3"])
def test_shapes_that_are_none(shape):
    with pytest.raises(UsageError, match=f"--shape {shape}: expected BLOB=C,H,W"):
        parse_shape(shape)


def test_shape_of_a_sample():
    assert parse_shape("data=3,32,16") == ("data", [3, 32, 16])
