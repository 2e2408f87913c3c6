"""Plans for people and for programs."""

from __future__ import annotations

import json

from dualnet.cut.plan.carrier import Carrier
from dualnet.cut.plan.table import to_record, to_text


def test_table(small):
    text = to_text(small)
    lines = text.splitlines()
    assert lines[0] == "small: batches of 4, CPU, 1 thread a half"
    rows = [line for line in lines if line[:3].strip() in ("", "*") and " / " in line]
    assert [row.split()[0 if row[0] == " " else 1] for row in rows] == [
        "ip1", "ip2", "ip3", "sum"
    ]  # fmt: skip
    assert sum(line.startswith("*") for line in lines) == 1
    assert any(" ip3 (+1)  sum+ip4  " in row for row in rows)
    assert f"Recommended: {small.best.cut.at}. Its larger half" in text
    assert "  dualnet split net.prototxt --at" in text
    assert ("share the cores" in text) == small.request.shared
    assert "  ip4    no layer that learns stands between it and the loss" in lines
    assert max(map(len, lines)) < 160


def test_a_rate_that_nothing_shows_is_no_number(small):
    still = small.__class__(
        **{**vars(small), "carrier": Carrier([4096, 1 << 22], [1e-3, 1e-3]), "best": None,
           "reason": "no cut helps"}
    )  # fmt: skip
    text = " ".join(to_text(still).split())
    assert "1.0 ms a message and a rate that is too high to show in messages of 4.19 MB" in text
    assert "No recommendation: no cut helps." in text and "dualnet split" not in text
    assert json.loads(json.dumps(to_record(still)))["exchange"]["bytes_per_s"] is None


def test_record_is_json_able_and_whole(small):
    record = json.loads(json.dumps(to_record(small)))
    assert [cut["at"] for cut in record["cuts"]] == ["ip1", "ip2", "ip3", "sum"]
    cut = record["cuts"][0]
    assert cut["up_bytes"] == 112 and cut["net1"]["parameters"] == 89
    assert cut["alternating_s"] == small.cuts[0].alternating_s
    assert record["cores"] == ("shared" if small.request.shared else "own")
    assert record["recommended"] == small.best.cut.at and record["refused"]["loss"]
