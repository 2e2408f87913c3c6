"""caffe.proto holds all of the real Caffe's, beside it the forks' listed fields, and is not stale.

fields.tsv is the real Caffe's list (describe.py), fork_fields.tsv what ours has beyond it.
"""

from __future__ import annotations

import pickle
import re
import subprocess
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, text_format

from dualnet.engine.proto import caffe_pb2
from tests.engine.proto.describe import describe

HERE = Path(__file__).resolve().parent


def _committed(name: str = "fields.tsv") -> list[str]:
    return (HERE / name).read_text(encoding="utf-8").splitlines()


def test_every_field_and_enum_value_is_that_of_the_real_caffe() -> None:
    ours, theirs = set(describe(caffe_pb2)), set(_committed())
    assert sorted(theirs - ours) == [], "in Caffe, missing here"
    assert sorted(ours - theirs) == _committed("fork_fields.tsv"), "declared here, not in Caffe"


@pytest.mark.bvlc
def test_the_committed_list_is_that_of_the_live_caffe(bvlc_python: str, repository: Path) -> None:
    live = subprocess.run(
        [bvlc_python, str(HERE / "describe.py")],
        cwd=repository,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert live.stdout.splitlines() == _committed()


def _declared_in_source(source: str) -> set[tuple[str, str, int]]:
    """Read (message, field, number) off caffe.proto, whose layout is regular."""
    declared = set()
    message = ""
    for line in source.splitlines():
        opening = re.match(r"message (\w+) \{", line)
        field = re.match(r"  (?:optional|required|repeated) [\w.]+ (\w+) = (\d+)[ ;]", line)
        if opening:
            message = opening.group(1)
        elif field:
            declared.add((message, field.group(1), int(field.group(2))))
    return declared


def test_the_module_is_not_stale() -> None:
    source = Path(caffe_pb2.__file__).with_name("caffe.proto").read_text(encoding="utf-8")
    file = descriptor_pb2.FileDescriptorProto()
    caffe_pb2.DESCRIPTOR.CopyToProto(file)
    built = {(m.name, f.name, f.number) for m in file.message_type for f in m.field}
    assert _declared_in_source(source) == built, "run scripts/generate_proto.sh"


def test_messages_survive_text_wire_and_pickle() -> None:
    layer = caffe_pb2.LayerParameter(
        name="conv1",
        type="Convolution",
        convolution_param=caffe_pb2.ConvolutionParameter(num_output=32, kernel_size=[5], pad=[2]),
        blobs=[caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=[2]), data=[1.5, -2.0])],
    )
    text = text_format.MessageToString(layer)
    assert text_format.Parse(text, caffe_pb2.LayerParameter()) == layer
    assert caffe_pb2.LayerParameter.FromString(layer.SerializeToString()) == layer
    assert pickle.loads(pickle.dumps(layer)) == layer


def test_a_blob_has_the_bytes_that_caffe_writes() -> None:
    # By hand from the encoding rules: field 5 is packed floats, field 7 a message with packed dims.
    blob = caffe_pb2.BlobProto(shape=caffe_pb2.BlobShape(dim=[2]), data=[1.0, -2.0])
    floats = bytes.fromhex("0000803f 000000c0")
    assert blob.SerializeToString() == b"\x2a\x08" + floats + b"\x3a\x03\x0a\x01\x02"


def test_defaults_and_presence_follow_proto2() -> None:
    solver = caffe_pb2.SolverParameter()
    assert solver.snapshot_format == caffe_pb2.SolverParameter.BINARYPROTO
    assert solver.solver_mode == caffe_pb2.SolverParameter.GPU
    assert solver.type == "SGD" and not solver.HasField("type")
    assert caffe_pb2.NetState().phase == caffe_pb2.TEST
    assert caffe_pb2.LayerParameter().phase == caffe_pb2.TRAIN
