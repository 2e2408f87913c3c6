"""What `exchange` may be set to, which the config says by itself, is what the exchange can do."""

from __future__ import annotations

import pytest

from dualnet.config import schema
from dualnet.exchange import compress, digest, factory, settings


@pytest.mark.parametrize(
    ("stated", "known"),
    [
        (schema.CARRIERS, factory.CARRIERS),
        (schema.DTYPES, compress.DTYPES),
        (schema.DIGESTS, digest.DIGESTS),
        (schema.FILESYSTEMS, settings.FILESYSTEMS),
    ],
)
def test_values_are_those_of_the_exchange(stated, known):
    assert stated == known
