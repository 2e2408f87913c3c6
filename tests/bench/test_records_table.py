"""Records of a measurement as a table."""

from __future__ import annotations

from dualnet.bench.records_table import records_table


def test_records_of_the_same_keys_share_a_table():
    records = [
        {"machine": "M", "cores": 2, "load": [1.0]},
        {"net": "a", "batch": 256, "step_ms": 116.6512345, "quartiles_ms": [1, 2]},
        {"net": "caffenet", "batch": 16, "step_ms": 7.0},
    ]
    assert records_table(records) == (
        "machine  cores\n"
        "M            2\n"
        "\n"
        "net       batch  step_ms\n"
        "a           256  116.651\n"
        "caffenet     16        7\n"
    )


def test_nothing_to_show():
    assert records_table([]) == ""
    assert records_table([{"nested": {"a": 1}}]) == ""
