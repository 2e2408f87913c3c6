"""JSON for other programs: strict, and what was not finite is named."""

from __future__ import annotations

import ast
import json
import math

import numpy as np
import pytest

from dualnet.strict_json import from_text, to_json, to_text

INF, NAN = float("inf"), float("nan")


def strict(text):
    """Parse as other programs do: Infinity and NaN are no JSON."""

    def refuse(word):
        raise ValueError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_finite_values_are_as_json_writes_them():
    value = {"a": 1.5, "b": [1, None, True, "inf"], "c": {"d": (2, 3)}}
    assert to_json(value) == json.dumps(value)
    assert to_json(value, indent=2) == json.dumps(value, indent=2)


def test_what_is_not_finite_is_null_and_named():
    value = {"accuracy": 0.1, "loss": INF, "heads": [{"loss": NAN}, {"loss": -INF}], "n": 3}
    assert strict(to_json(value)) == {
        "accuracy": 0.1, "loss": None, "heads": [{"loss": None}, {"loss": None}], "n": 3,
        "not_finite": {"loss": "Infinity", "heads.0.loss": "NaN", "heads.1.loss": "-Infinity"},
    }  # fmt: skip
    assert value["loss"] == INF and "not_finite" not in value  # the caller's stays


def test_numpy_numbers_and_lists():
    assert strict(to_json({"a": np.float64("nan")}))["not_finite"] == {"a": "NaN"}
    assert strict(to_json([1.0, INF])) == [1.0, None]


@pytest.mark.parametrize("number", [0.0, -1.5, 1e300, 5e-324, INF, -INF, NAN])
def test_records_give_numbers_back(number):
    text = json.dumps(to_text(number), allow_nan=False)
    found = from_text(strict(text))
    assert found == number or (math.isnan(found) and math.isnan(number))


#: What goes from one of our Python processes to another, and a hash.
OWN = {
    "dualnet/config/schema.py", "dualnet/cut/shapes.py", "dualnet/cut/split/configuration.py",
    "dualnet/exchange/run/manifest.py",
}  # fmt: skip


def test_nothing_writes_json_that_is_not_strict(repository):
    """But for what the benches' own processes tell each other."""
    loose = []
    for path in sorted((repository / "dualnet").rglob("*.py")):
        name = path.relative_to(repository).as_posix()
        if name in OWN or "bench/" in name:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            module = node.func.value
            if node.func.attr not in ("dump", "dumps") or getattr(module, "id", "") != "json":
                continue
            if "allow_nan" not in [keyword.arg for keyword in node.keywords]:
                loose.append(f"{name}:{node.lineno}")
    assert not loose
