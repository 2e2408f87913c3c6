"""Caffemodels as forks write them: by the forks' own numbers, which collide."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from google.protobuf.message import DecodeError, EncodeError

from dualnet.engine.errors import PrototxtError
from dualnet.engine.formats import prototxt
from dualnet.engine.net.net import Net
from dualnet.engine.proto import caffe_pb2
from dualnet.engine.proto.fork_numbers import settled


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def real(field: int, value: float) -> bytes:
    return varint(field << 3 | 5) + struct.pack("<f", value)


def message(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def layer(kind: str, *fields: bytes, name: str = "l") -> bytes:
    return message(100, message(1, name.encode()) + message(2, kind.encode()) + b"".join(fields))


def read(tmp_path, content: bytes):
    path = tmp_path / "net.caffemodel"
    path.write_bytes(content)
    return prototxt.read_binary(path, caffe_pb2.NetParameter)


ROI = number(1, 7) + number(2, 6) + real(3, 0.0625)


@pytest.mark.parametrize("place", [8266711, 147, 150, 154, 204])
def test_roi_pooling_of_five_forks(tmp_path, place):
    (found,) = read(tmp_path, layer("ROIPooling", message(place, ROI))).layer
    param = found.roi_pooling_param
    assert (param.pooled_h, param.pooled_w, param.spatial_scale) == (7, 6, 0.0625)
    assert [f.name for f, _ in found.ListFields()] == ["name", "type", "roi_pooling_param"]


@pytest.mark.parametrize(
    ("kind", "place", "content", "field", "value"),
    [
        ("SmoothL1Loss", 148, real(1, 3.0), "smooth_l1_loss_param", {"sigma": 3.0}),
        ("SmoothL1Loss", 8266712, real(1, 3.0), "smooth_l1_loss_param", {"sigma": 3.0}),
        ("Interp", 143, number(1, 9) + number(2, 8), "interp_param", {"height": 9, "width": 8}),
        ("Upsample", 137, number(1, 3), "upsample_param", {"scale": 3}),
        ("Upsample", 147, number(1, 3), "upsample_param", {"scale": 3}),
        ("Upsample", 150, number(1, 3), "upsample_param", {"scale": 3}),
        ("PSROIPooling", 153, number(2, 21), "psroi_pooling_param", {"output_dim": 21}),
        ("Permute", 224, number(1, 0) + number(1, 2), "permute_param", {"order": [0, 2]}),
        ("PriorBox", 203, real(1, 30.0), "prior_box_param", {"min_size": [30.0]}),
        ("Normalize", 206, number(3, 0), "norm_param", {"channel_shared": False}),
        ("ShuffleChannel", 164, number(1, 3), "shuffle_channel_param", {"group": 3}),
        ("ReLU6", 211, real(1, 0.5), "relu6_param", {"negative_slope": 0.5}),
        ("BN", 45, number(3, 1), "bn_param", {"bn_mode": 1}),
        ("BN", 152, real(3, 0.5) + number(5, 1), "bn_param", {"momentum": 0.5, "frozen": True}),
        ("DenseImageData", 138, number(2, 8), "dense_image_data_param", {"batch_size": 8}),
        ("Tile", 138, number(2, 8), "tile_param", {"tiles": 8}),
        ("Swish", 147, real(1, 2.0), "swish_param", {"beta": 2.0}),
        ("Clip", 148, real(1, 0.0) + real(2, 6.0), "clip_param", {"min": 0.0, "max": 6.0}),
        ("Embed", 137, number(1, 3), "embed_param", {"num_output": 3}),
    ],
)
def test_the_type_decides_what_a_number_means(tmp_path, kind, place, content, field, value):
    (found,) = read(tmp_path, layer(kind, message(place, content))).layer
    param = getattr(found, field)
    for name, expected in value.items():
        given = getattr(param, name)
        assert (list(given) if isinstance(expected, list) else given) == expected
    assert [f.name for f, _ in found.ListFields()] == ["name", "type", field]


def test_a_filler_of_pspnets_bn_is_not_taken_for_segnets(tmp_path):
    filler = message(1, b"constant") + real(2, 1.5)
    (found,) = read(tmp_path, layer("BN", message(152, message(1, filler)))).layer
    assert found.bn_param.slope_filler.value == 1.5 and not found.bn_param.HasField("scale_filler")


SMOOTH = layer("SmoothL1Loss", message(148, real(1, 3.0)))
#: A string (where BVLC Caffe has a BlobShape) that is no message, of DeepLab's MatWrite.
MATWRITE = layer("MatWrite", message(145, message(1, b"\xff\xff/features")))


def test_a_string_for_a_message_no_longer_spoils_the_whole_file(tmp_path):
    with pytest.raises(DecodeError):
        caffe_pb2.NetParameter.FromString(MATWRITE)
    assert read(tmp_path, MATWRITE).layer[0].name == "l"


def test_a_file_with_half_a_required_message_can_be_written_again(tmp_path):
    with pytest.raises(EncodeError, match="max"):
        caffe_pb2.NetParameter.FromString(SMOOTH).SerializeToString()
    assert read(tmp_path, SMOOTH).SerializeToString()


def test_other_types_lose_only_the_message_that_is_not_theirs(tmp_path):
    content = layer(
        "CenterLoss", message(211, number(1, 10)), message(106, number(1, 5)), message(3, b"x")
    )
    (found,) = read(tmp_path, content).layer
    assert [f.name for f, _ in found.ListFields()] == [
        "name", "type", "bottom", "convolution_param",
    ]  # fmt: skip


def test_nvidias_precisions_are_no_messages(tmp_path):
    content = layer("ReLU", number(145, 1), number(146, 1), number(147, 0), number(148, 0))
    assert read(tmp_path, content).layer[0].type == "ReLU"


def test_what_needs_no_change_is_the_same_object():
    net = caffe_pb2.NetParameter(name="n")
    net.layer.add(name="c", type="Convolution").convolution_param.num_output = 3
    net.layer.add(name="w", type="Swish").swish_param.beta = 2
    net.layer.add(name="r", type="ROIPooling").roi_pooling_param.pooled_h = 2
    content = net.SerializeToString()
    assert settled(content) is content
    assert settled(b"") == b""


@pytest.mark.parametrize("content", [b"\xff" * 12, b"\x07", SMOOTH[:-2], b"\xa2\x06\xff\xff\x03ab"])
def test_damaged_files_are_left_to_protobuf(tmp_path, content):
    assert settled(content) is content
    with pytest.raises(PrototxtError, match="is not a binary NetParameter"):
        read(tmp_path, content)


def test_weights_of_a_fork_whose_numbers_collide(tmp_path):
    """A Fast R-CNN of Microsoft's fork, with its weights behind a layer that could not be read."""
    blob = message(7, message(1, varint(2))) + message(5, struct.pack("<2f", 3.0, 4.0))
    file = tmp_path / "w.caffemodel"
    file.write_bytes(
        layer("ROIPooling", message(147, ROI), name="roi")
        + layer("SmoothL1Loss", message(148, real(1, 3.0)), name="loss")
        + layer("Scale", message(7, blob), name="s")
    )
    path = tmp_path / "net.prototxt"
    path.write_text(
        'input: "x" input_shape { dim: 1 dim: 2 }\n'
        'layer { name: "s" type: "Scale" bottom: "x" top: "y" }\n'
    )
    net = Net(str(path), 1)
    net.copy_from(str(file))
    np.testing.assert_array_equal(net.params["s"][0].data, [3, 4])
