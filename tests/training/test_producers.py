"""Layers that start processes of their own: they end with the training, the split and the plan."""

from __future__ import annotations

import os

import pytest

from tests.cut.singles import write_single
from tests.processes import is_alive, wait_for
from tests.training.changing import SOLVER

SOURCE = '''
import multiprocessing as mp
import os
import numpy as np
import caffe


def produce(batches):
    random = np.random.RandomState(3)
    while True:
        x = random.rand(4, 1, 6, 6).astype("f4")
        batches.put((x, (x.mean((1, 2, 3)) > 0.5).astype("f4")))


class Source(caffe.Layer):
    """Batches come from a process of its own, which nobody ends."""
    def setup(self, bottom, top):
        top[0].reshape(4, 1, 6, 6); top[1].reshape(4)
        context = mp.get_context(self.param_str)
        self.batches = context.Queue(2)
        self.process = context.Process(target=produce, args=(self.batches,))
        self.process.start()
        with open("pids", "a") as file:
            file.write(f"{self.process.pid}\\n")

    def reshape(self, bottom, top):
        pass

    def forward(self, bottom, top):
        # By number: BVLC Caffe's tops cannot be iterated over.
        top[0].data[...], top[1].data[...] = self.batches.get(timeout=60)

    def backward(self, top, propagate_down, bottom):
        pass
'''

NET = """
name: "produced"
layer { name: "data" type: "Python" top: "data" top: "label"
  python_param { module: "source" layer: "Source" param_str: "METHOD" } }
layer { name: "c1" type: "Convolution" bottom: "data" top: "c1"
  convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "ip1" type: "InnerProduct" bottom: "c1" top: "ip1"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""


def pids(workdir):
    return [int(line) for line in (workdir / "pids").read_text().split()]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_producers_end_with_what_started_them(dualnet, workdir, monkeypatch, method):
    (workdir / "source.py").write_text(SOURCE)
    monkeypatch.setenv("PYTHONPATH", os.environ["PYTHONPATH"] + ":.")
    path = write_single(".", NET.replace("METHOD", method), SOLVER)
    done = dualnet("split", path, "--at", "c1", "--dual", "ip1", "-o", "cut", timeout_s=120)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    count = len(pids(workdir))
    assert count >= 1
    done = dualnet(
        "train", "cut/dual.yaml", "--run-dir", "run", "--set", "train.max_iter=3",
        "--set", "exchange.carrier=tcp", timeout_s=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(pids(workdir)) > count
    wait_for(lambda: not any(map(is_alive, pids(workdir))))
