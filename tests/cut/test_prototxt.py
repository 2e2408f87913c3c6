"""Prototxt in its author's own words, and new layers in the same manner."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from dualnet.backend import caffe_pb2
from dualnet.cut.graph import read_net
from dualnet.cut.prototxt import Source, format_fields, format_layer, replace_values

TEXT = """# About the file.

name: "it"  # its name

# The first
#   layer.
layer {
  name: "a"  # inside { not a brace
  type: 'Python' bottom: "x" bottom: 'y'
  top: "a{"
  python_param { module: "m" layer: "name: \\"x\\"" param_str: "top: 'x'" }
}  # behind
layer: < name: "b" type: "ReLU" bottom: "a{" top: "b" >
# The end.
"""


def parsed(text):
    return text_format.Parse(text, caffe_pb2.NetParameter())


def renamed(layer, **values):
    copy = caffe_pb2.LayerParameter()
    copy.CopyFrom(layer)
    for field, value in values.items():
        if isinstance(value, str):
            setattr(copy, field, value)
        else:
            getattr(copy, field)[:] = value
    return copy


def test_layers_keep_their_text_and_comments():
    net = parsed(TEXT)
    source = Source(TEXT, net)
    first, second = (source.layer(i, net.layer[i]) for i in range(2))
    start = TEXT.index("# The first")
    assert first.text == TEXT[start : TEXT.index("layer: <")]
    assert second.text == 'layer: < name: "b" type: "ReLU" bottom: "a{" top: "b" >\n'
    assert (first.lost, second.lost) == (0, 0)
    assert (source.head_lines, source.tail_lines, source.is_opaque) == (2, 1, False)


def test_names_are_exchanged_and_nothing_else():
    net = parsed(TEXT)
    source = Source(TEXT, net)
    wanted = renamed(net.layer[0], name="new", bottom=["x1", 'y"1'], top=["t"])
    written = source.layer(0, wanted).text
    for old, new in (('name: "a"', 'name: "new"'), ('bottom: "x"', 'bottom: "x1"'),
                     ("bottom: 'y'", 'bottom: "y\\"1"'), ('top: "a{"', 'top: "t"')):  # fmt: skip
        assert old not in written and new in written
    assert "# inside { not a brace" in written and 'layer: "name: \\"x\\""' in written
    assert parsed(written).layer[0] == wanted


def test_what_cannot_be_edited_is_written_anew_and_the_loss_counted():
    text = 'layer { name: "a" type: "ReLU" # why\n bottom: ["x", "y"] top: "a" }'
    net = parsed(text)
    wanted = renamed(net.layer[0], bottom=["x1", "y"])
    written = Source(text, net).layer(0, wanted)
    assert parsed(written.text).layer[0] == wanted
    more = renamed(net.layer[0], bottom=["x", "y", "z"])
    assert Source(text, net).layer(0, more).lost == 1


def test_layers_in_a_list_lose_all_comments():
    text = '# Head.\nname: "x"\nlayer: [{ name: "a" type: "ReLU" }, { name: "b" type: "ReLU" }]\n'
    source = Source(text, parsed(text))
    assert source.is_opaque and source.comment_lines == 1
    assert parsed(source.layer(1, parsed(text).layer[1]).text).layer[0].name == "b"


def test_input_fields_have_no_text_of_their_own(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text("input: 'x' input_dim: [1, 2, 3, 4]\nlayer { name: 'a' type: 'ReLU' }\n")
    net = read_net(str(path))
    source = Source(path.read_text(), net)
    assert 'type: "Input"' in source.layer(0, net.layer[0]).text
    assert source.layer(1, net.layer[1]).text == "layer { name: 'a' type: 'ReLU' }\n"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"net": ["b"]}, 'net: "b" snapshot_prefix: "p" x { net: "c" }'),
        ({"net": ["b"], "snapshot_prefix": ["q"]}, 'net: "b" snapshot_prefix: "q" x { net: "c" }'),
        ({"net": ["b", "c"]}, None),
        ({"net": []}, None),
        ({"absent": ["b"]}, None),
    ],
)
def test_values_are_replaced_at_their_depth(values, expected):
    text = 'net: "a" snapshot_prefix: "p" x { net: "c" }'
    assert replace_values(text, values, depth=0) == expected


def test_new_layers_look_like_the_shipped_ones(repository):
    path = str(repository / "prototxt/cifar10/net2_train_test.prototxt")
    text = "".join(format_layer(layer) for layer in read_net(path).layer)
    shipped = Path(path).read_text().splitlines(keepends=True)
    assert text == "".join(line for line in shipped if not line.startswith(("#", "name:")))


def test_numbers_and_strings_read_back():
    layer = caffe_pb2.LayerParameter(name='a "quoted" \\ name\nof two lines', type="Power")
    layer.power_param.scale = np.float32(1) / 3
    layer.power_param.shift = 1e-20
    layer.loss_weight.extend([0.1, 1, 1e10, -0.0])
    assert parsed(format_layer(layer)).layer[0] == layer
    solver = caffe_pb2.SolverParameter(test_iter=[1], base_lr=0.05, snapshot=0, max_iter=10**9)
    text = format_fields(solver)
    assert "base_lr: 0.05\n" in text
    assert text_format.Parse(text, caffe_pb2.SolverParameter()) == solver


def test_empty_messages_stay():
    layer = caffe_pb2.LayerParameter(name="a", type="Input")
    layer.input_param.shape.add()
    layer.param.add()
    assert parsed(format_layer(layer)).layer[0] == layer
