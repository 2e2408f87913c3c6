"""Nets whose batches and images change their size, on a Python data layer, whole and in pieces."""

from __future__ import annotations

import os
import sys

from dualnet.cut.split import Request, split, write
from tests.cut.singles import write_single

#: Sizes come from a generator of the layer's own, so that every copy of it gives the same batches.
#: In `setup` one is drawn, too, as Caffe calls `reshape` once more before the first batch.
LAYERS = '''
import json
import numpy as np
import caffe


class Source(caffe.Layer):
    """Batches of `sizes`, (N, H, W) by turns or at random, and a label for each pixel or sample."""
    def setup(self, bottom, top):
        self.options = json.loads(self.param_str)
        self.random = np.random.RandomState(self.options.get("seed", 1))
        self.number = -1
        self.reshape(bottom, top)

    def reshape(self, bottom, top):
        sizes = self.options["sizes"]
        self.number += 1
        pick = self.random.randint(len(sizes)) if self.options.get("random") else (
            self.number % len(sizes))
        n, h, w = sizes[pick]
        top[0].reshape(n, 1, h, w)
        top[1].reshape(*((n, 1, h, w) if self.options.get("pixels") else (n,)))

    def forward(self, bottom, top):
        x = self.random.randn(*top[0].data.shape)
        top[0].data[...] = x
        found = x > 0.2 if self.options.get("pixels") else x.mean(axis=(1, 2, 3)) > 0
        top[1].data[...] = found

    def backward(self, top, propagate_down, bottom):
        pass
'''

IMAGES = '{"sizes": [[1, 7, 9], [1, 6, 5], [1, 9, 7]], "pixels": 1, "random": 1}'
BATCHES = '{"sizes": [[4, 5, 5], [4, 5, 5], [3, 5, 5]]}'

SOLVER = """net: "single_train_test.prototxt"
base_lr: 0.05
lr_policy: "fixed"
momentum: 0.9
max_iter: 9
snapshot_prefix: "single"
"""
TESTED = SOLVER + "test_iter: 3\ntest_interval: 4\n"


def source(options: str) -> str:
    """The data layer."""
    text = options.replace('"', '\\"')
    return (
        'layer { name: "data" type: "Python" top: "data" top: "label" python_param { '
        f'module: "changing_layers" layer: "Source" param_str: "{text}" }} }}\n'
    )


def _conv(name: str, bottom: str, num_output: int = 3) -> str:
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" '
        f"convolution_param {{ num_output: {num_output} pad: 1 kernel_size: 3 "
        'weight_filler { type: "xavier" } } }\n'
    )


def pixels(options: str = IMAGES) -> str:
    """A fully convolutional net with a score for each pixel, and one output as large as that."""
    return "".join(
        [
            'name: "pixels"\n',
            source(options),
            _conv("c1", "data"),
            'layer { name: "relu1" type: "ReLU" bottom: "c1" top: "c1" }\n',
            _conv("c2", "c1"),
            'layer { name: "relu2" type: "ReLU" bottom: "c2" top: "r2" }\n',
            _conv("c3", "r2", 2),
            'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "c3" bottom: "label" '
            'top: "loss" }\n',
            'layer { name: "scores" type: "Softmax" bottom: "c3" top: "scores" '
            "include { phase: TEST } }\n",
        ]
    )


def samples(options: str = BATCHES) -> str:
    """A classifier."""
    return "".join(
        [
            'name: "samples"\n',
            source(options),
            _conv("c1", "data"),
            _conv("c2", "c1"),
            'layer { name: "pool" type: "Pooling" bottom: "c2" top: "pool" pooling_param { '
            "pool: AVE global_pooling: true } }\n",
            'layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip" '
            'inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }\n'
            'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" '
            'top: "loss" }\n',
        ]
    )


def install(folder: str) -> None:
    """Leave the layers where nets find them; the caller restores sys.path and sys.modules."""
    with open(os.path.join(folder, "changing_layers.py"), "w", encoding="utf-8") as file:
        file.write(LAYERS)
    sys.path.insert(0, folder)
    sys.modules.pop("changing_layers", None)


def cut_in_two(folder: str, text: str, solver: str = SOLVER) -> str:
    """Split it behind c1; returns the YAML's path."""
    request = Request(
        write_single(folder, text, solver), [(["c1"], ["c2"])], os.path.join(folder, "cut")
    )
    result = split(request)
    write(request, result)
    return result.yaml
