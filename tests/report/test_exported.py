"""Reading what an exported file records, without PyTorch."""

from __future__ import annotations

import json
import zipfile

import pytest

from dualnet.engine.errors import DataError
from dualnet.errors import StorageFailed, UsageError
from dualnet.report.exported import FACTS, describe


def write(path, name=f"model/extra/{FACTS}"):
    mean = {"shape": [1, 1, 1], "base64": "AAAA"}
    facts = {"inputs": {"data": {"mean_image": mean}, "mask": {}}, "classes": ["a"]}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, json.dumps(facts))


def test_means_are_shortened(tmp_path):
    write(tmp_path / "m.pt2")
    found = describe(str(tmp_path / "m.pt2"))
    assert found["classes"] == ["a"]
    assert found["inputs"]["data"]["mean_image"]["base64"] == "(4 characters)"


def test_files_that_dualnet_did_not_write(tmp_path):
    write(tmp_path / "other.pt2", "model/extra/notes.txt")
    with pytest.raises(UsageError, match=r"other\.pt2: has no preprocessing\.json: dualnet export"):
        describe(str(tmp_path / "other.pt2"))
    (tmp_path / "text.pt2").write_text("no archive")
    with pytest.raises(DataError, match=r"text\.pt2: not an exported program of PyTorch's"):
        describe(str(tmp_path / "text.pt2"))
    with pytest.raises(StorageFailed, match=r"none\.pt2: cannot be read"):
        describe(str(tmp_path / "none.pt2"))
    with pytest.raises(UsageError, match="must end in"):
        describe(str(tmp_path / "m.caffemodel"))


def test_an_onnx_file(tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.ModelProto()
    model.metadata_props.add(key=FACTS, value=json.dumps({"inputs": {}, "classes": None}))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert describe(str(tmp_path / "m.onnx")) == {"inputs": {}, "classes": None}
    (tmp_path / "text.onnx").write_bytes(b"\xff" * 9)
    with pytest.raises(DataError, match=r"text\.onnx: not an ONNX file"):
        describe(str(tmp_path / "text.onnx"))
