"""A small net with a shortcut, planned without measuring: every number is chosen."""

from __future__ import annotations

from google.protobuf import text_format

from dualnet.backend import caffe_pb2
from dualnet.cut.dataflow import DataflowGraph
from dualnet.cut.plan.carrier import Carrier
from dualnet.cut.plan.cut_plan import Measured, Request, make_plan
from dualnet.cut.plan.cuts import find_cuts
from dualnet.cut.plan.estimate import Costs
from dualnet.cut.plan.memory import Memory
from dualnet.cut.plan.times import LayerTimes
from dualnet.cut.shapes import Built

NET = """
name: "small"
layer { name: "data" type: "Data" top: "data" top: "label" }
layer { name: "ip1" type: "InnerProduct" bottom: "data" top: "ip1" }
layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2" }
layer { name: "ip3" type: "InnerProduct" bottom: "ip2" top: "ip3" }
layer { name: "sum" type: "Eltwise" bottom: "ip2" bottom: "ip3" top: "sum" }
layer { name: "ip4" type: "InnerProduct" bottom: "sum" top: "ip4" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip4" bottom: "label" top: "loss" }
"""
BLOBS = {
    "data": [4, 8], "label": [4], "ip1": [4, 6], "ip2": [4, 5], "ip3": [4, 5], "sum": [4, 5],
    "ip4": [4, 3], "loss": [],
}  # fmt: skip
#: By the layer's number.
PARAMETERS = {1: [[6, 8], [6]], 3: [[5, 6], [5]], 4: [[5, 5], [5]], 6: [[3, 5], [3]]}
#: Times are powers of two: every sum says which terms are in it.
LAYERS = ("data", "ip1", "relu1", "ip2", "ip3", "sum", "ip4", "loss")
TIMES = LayerTimes(
    {i: 2.0**i for i in range(len(LAYERS))},
    {i: 2.0 ** (i + 10) for i in range(len(LAYERS))},
    152.0, 0.0, 0,
)  # fmt: skip
CARRIER = Carrier([0, 100], [1.0, 2.0], [0.5, 0.5])
BUILT = Built(BLOBS, PARAMETERS)


def wired(text=NET):
    """The dataflow of a net in phase TRAIN."""
    net = text_format.Parse(text, caffe_pb2.NetParameter())
    return DataflowGraph(net, "net.prototxt", ("TRAIN",))


def learning(dataflow, built=BUILT):
    """Numbers of the layers that learn."""
    return built.learning(dataflow)


def costs(times=TIMES, text=NET, target="gradient"):
    """Of the small net's pieces."""
    dataflow = wired(text)
    return Costs(dataflow, BUILT, times, CARRIER, Memory(dataflow, BUILT, "SGD"), target)


def planned(**asked):
    """A plan of the small net."""
    request = Request("net.prototxt", **asked)
    found = costs()
    cuts, refusals = find_cuts(found.dataflow, learning(found.dataflow))
    quarter = costs(
        TIMES._replace(
            forward={layer: seconds / 4 for layer, seconds in TIMES.forward.items()},
            backward={layer: seconds / 4 for layer, seconds in TIMES.backward.items()},
        )
    )
    return make_plan(request, Measured("small", 4, 1, 4, found, found, quarter, 0, cuts, refusals))
