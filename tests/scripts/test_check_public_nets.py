"""scripts/check_public_nets.py: what it says of files of each kind."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent.parent / "scripts" / "check_public_nets.py"
INPUT = 'input: "x" input_shape { dim: 4 dim: 2 dim: 6 dim: 6 }\n'
FILES = {
    "a/deploy.prototxt": INPUT + 'layer { name: "p" type: "Pooling" bottom: "x" top: "p" '
    "pooling_param { kernel_size: 2 ceil_mode: false } }\n",
    "a/copy.prototxt": INPUT + 'layer { name: "p" type: "Pooling" bottom: "x" top: "p" '
    "pooling_param { kernel_size: 2 ceil_mode: false } }\n",
    "a/train.prototxt": 'layer { name: "d" type: "Data" top: "x" top: "l" include { phase: TRAIN } '
    'data_param { source: "nowhere" batch_size: 2 } transform_param { crop_size: 8 } }\n'
    'layer { name: "i" type: "InnerProduct" bottom: "x" top: "i" inner_product_param { '
    "num_output: 3 } include { phase: TRAIN } }\n"
    'layer { name: "s" type: "SoftmaxWithLoss" bottom: "i" bottom: "l" '
    "include { phase: TRAIN } }\n",
    "a/solver.prototxt": 'net: "train.prototxt" base_lr: 0.1 lr_policy: "fixed"\n',
    "b/ssd.prototxt": 'layer { name: "d" type: "AnnotatedData" top: "x" }\n',
    "b/field.prototxt": "layer { transform_param { resize_param { prob: 1 } } }\n",
    "b/own.prototxt": 'layer { name: "d" type: "Python" top: "x" python_param { '
    'module: "no_such_module_anywhere" layer: "L" } }\n',
    "b/solver.prototxt": "base_lr: 0.1 eval_type: 'detection'\n",
    "b/labelmap.prototxt": 'item { name: "background" label: 0 }\n',
}  # fmt: skip


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("check_public_nets", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_each_file_is_what_it_is(script, tmp_path, monkeypatch, capsys):
    for name, text in FILES.items():
        path = tmp_path / "public" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    table, lines = tmp_path / "table.md", tmp_path / "list.jsonl"
    monkeypatch.setattr(
        sys,
        "argv",
        ["check", str(tmp_path / "public"), "--run", "-o", str(table), "--list", str(lines)],
    )
    assert script.main() == 0
    found = {v["path"]: v for v in map(json.loads, lines.read_text().splitlines())}
    assert {path: (v["kind"], v["result"]) for path, v in found.items()} == {
        "a/copy.prototxt": ("net", "runs"),  # deploy.prototxt is the same file
        "a/train.prototxt": ("net", "builds"),
        "a/solver.prototxt": ("solver", "read"),
        "b/ssd.prototxt": ("net", "refused"),
        "b/field.prototxt": ("net", "refused"),
        "b/own.prototxt": ("net", "elsewhere"),
        "b/solver.prototxt": ("solver", "refused"),
        "b/labelmap.prototxt": ("other", "other"),
    }
    assert "AnnotatedData', which is of SSD" in found["b/ssd.prototxt"]["reason"]
    assert "It is a field of SSD" in found["b/field.prototxt"]["reason"]
    text = table.read_text()
    assert "| a | 2 | 1 | 1 | 0 | 0 | 1 | 0 |" in text
    assert "| b | 3 | 0 | 0 | 1 | 2 | 1 | 1 |" in text
    assert "| all | 5 | 1 | 1 | 1 | 2 | 2 | 1 |" in text
    assert "ssd.prototxt" in capsys.readouterr().out
