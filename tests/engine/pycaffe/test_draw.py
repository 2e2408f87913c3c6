"""Drawings: labels, the graph where pydot is there, and clear words where it is not."""

from __future__ import annotations

import sys

import pytest

from dualnet.engine.errors import DataError
from dualnet.engine.formats import prototxt
from dualnet.engine.proto import caffe_pb2
from dualnet.engine.pycaffe import draw

NET = """
name: "tiny: net"
layer { name: "d" type: "Data" top: "data" data_param { batch_size: 7 } include { phase: TRAIN } }
layer { name: "block/conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 3 }
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip"
  inner_product_param { num_output: 5 } exclude { phase: TEST } }
"""


@pytest.fixture
def net():
    return prototxt.parse_text(NET, caffe_pb2.NetParameter, "net")


def test_labels(net):
    data, conv, relu, pool, ip = net.layer
    assert draw.get_layer_label(conv, "TB", display_lrm=True) == (
        '"block/conv (lr mult: 3) (Convolution) kernel size: 3 stride: 1 pad: 1"'
    )
    assert draw.get_layer_label(pool, "LR") == (
        '"pool\\n(AVE Pooling)\\nkernel size: 2\\nstride: 2\\npad: 0"'
    )
    assert draw.get_layer_label(relu, "TB") == '"relu (ReLU)"'
    edges = [draw.get_edge_label(layer) for layer in net.layer]
    assert edges == ["Batch 7", "4", '""', '""', "5"]
    assert draw.get_layer_lr_mult(ip) == 1 and draw.get_layer_lr_mult(conv) == 3
    assert draw.choose_color_by_layertype("Deconvolution") == "#FF5050"


def test_graph(net):
    pytest.importorskip("pydot")
    graph = draw.get_pydot_graph(net, "LR")
    names = {node.get_name() for node in graph.get_nodes()}
    assert '"block/conv_Convolution"' in names and '"conv_blob"' in names
    assert len(graph.get_edges()) == 9
    tested = draw.get_pydot_graph(net, "LR", phase=caffe_pb2.TEST)
    names = {node.get_name() for node in tested.get_nodes()}
    assert '"d_Data"' not in names and '"ip_InnerProduct"' not in names
    assert '"pool_Pooling"' in names


def test_without_graphviz(net, monkeypatch, tmp_path):
    pytest.importorskip("pydot")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="graphviz's program `dot`"):
        draw.draw_net_to_file(net, str(tmp_path / "net.png"))


def test_without_pydot(net, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydot", None)
    with pytest.raises(DataError, match="needs the package pydot"):
        draw.draw_net(net, "LR")
