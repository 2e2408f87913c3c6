"""`debug_info`: mean absolute values of a pass, in Caffe's lines."""

from __future__ import annotations

from dualnet.engine.net.net import Net

NET = """
debug_info: true
layer { name: "d" type: "DummyData" top: "x" top: "t" dummy_data_param {
  shape { dim: 2 dim: 2 } shape { dim: 2 dim: 1 } data_filler { value: -2 }
  data_filler { value: 0 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y"
  param { name: "w" } param { lr_mult: 0 }
  inner_product_param { num_output: 1 weight_filler { value: 0.5 } bias_filler { value: -1 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""


def test_lines(tmp_path, capfd):
    (tmp_path / "net.prototxt").write_text(NET)
    net = Net(tmp_path / "net.prototxt", 0)
    net.clear_param_diffs()
    net._forward_backward()
    texts = [line.partition("] ")[2].strip() for line in capfd.readouterr().err.splitlines()]
    assert texts == [
        "[Forward] Layer d, top blob x data: 2",
        "[Forward] Layer d, top blob t data: 0",
        "[Forward] Layer ip, top blob y data: 3",
        "[Forward] Layer ip, param blob w data: 0.5",
        "[Forward] Layer ip, param blob 1 data: 1",
        "[Forward] Layer loss, top blob loss data: 4.5",
        "[Backward] Layer loss, bottom blob y diff: 1.5",
        "[Backward] Layer ip, param blob 0 diff: 6",
        "[Backward] All net params (data, diff): L1 norm = (2, 12); L2 norm = (1.22474, 8.48528)",
    ]
