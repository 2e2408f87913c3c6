"""Single nets on the digits, written for a test: a few lines of prototxt become files."""

from __future__ import annotations

import os

from dualnet.cut.split import Request, split, write

#: Both phases of a data layer, the digits.
DATA = """
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.0625 }
  data_param { source: "data/digits/train_lmdb" batch_size: 16 backend: LMDB } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.0625 }
  data_param { source: "data/digits/test_lmdb" batch_size: 60 backend: LMDB } }
"""

SOLVER = """net: "single_train_test.prototxt"
test_iter: 6
test_interval: 100
base_lr: 0.01
lr_policy: "fixed"
momentum: 0.9
max_iter: 100
snapshot_prefix: "single"
"""


def conv(name, bottom, top="", num_output=4, more=""):
    """A 3x3 convolution that keeps the image's size."""
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{top or name}" '
        f"{more} convolution_param {{ num_output: {num_output} pad: 1 kernel_size: 3 "
        'weight_filler { type: "msra" } } }\n'
    )


def relu(name, bottom, top="", more=""):
    """In place unless it has a top."""
    top = top or bottom
    return f'layer {{ name: "{name}" type: "ReLU" bottom: "{bottom}" top: "{top}" {more} }}\n'


def classifier(bottom, name="ip", loss="loss", more=""):
    """A fully connected layer and its loss."""
    return (
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" '
        'inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }\n'
        f'layer {{ name: "{loss}" type: "SoftmaxWithLoss" bottom: "{name}" bottom: "label" '
        f'top: "{loss}" {more} }}\n'
    )


#: Convolutions with a ReLU in place after each, as Caffe's examples have them.
CHAIN = "".join(
    [
        'name: "chain"\n',
        DATA,
        conv("conv1", "data"),
        relu("relu1", "conv1"),
        conv("conv2", "conv1"),
        relu("relu2", "conv2"),
        conv("conv3", "conv2"),
        relu("relu3", "conv3"),
        classifier("conv3"),
    ]
)


def write_single(folder, text=CHAIN, solver=SOLVER):
    """Leave a net and its solver in a folder; returns the net's path."""
    os.makedirs(str(folder), exist_ok=True)
    path = os.path.join(str(folder), "single_train_test.prototxt")
    solver = solver.replace("single_train_test.prototxt", path)
    for name, content in ((path, text), (path.replace("train_test", "solver"), solver)):
        with open(name, "w", encoding="utf-8") as file:
            file.write(content)
    return path


def cut_in_two(folder, text, at, dual, **more):
    """Split a net; returns (path of the YAML, texts by file name, remarks)."""
    request = Request(
        write_single(folder, text),
        [(at.split(), dual.split())],
        os.path.join(str(folder), "cut"),
        **more,
    )
    result = split(request)
    write(request, result)
    texts = {os.path.basename(path): text for path, text in result.contents.items()}
    return result.yaml, texts, result.remarks
