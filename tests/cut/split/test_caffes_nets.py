"""Caffe's own nets, where Caffe's distribution is at hand: they are split, and fit together.

scripts/compare_cuts.py trains them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dualnet import config
from dualnet.cut.dataflow import DataflowGraph
from dualnet.cut.split import Request, split, write
from dualnet.rundir import RunDir
from dualnet.train.net.resolve import resolve
from tests.cut.split.cuts import NETS

pytestmark = pytest.mark.usefixtures("workdir")

#: The nets with cuts of their own, and one cut of each chain.
CUTS = [
    (name, at, dual)
    for name, net in NETS.items()
    if net.is_caffes
    for at, dual in net.cuts or [("conv2", "pool2")]
]


@pytest.fixture
def caffe_dir():
    folder = os.environ.get("DUALNET_CAFFE_DIR", "")
    path = Path(folder) / "share" / "caffe"
    if not folder or not path.is_dir():
        pytest.skip("DUALNET_CAFFE_DIR is unset or holds no share/caffe: scripts/install_caffe.sh")
    return path


@pytest.mark.parametrize(("name", "at", "dual"), CUTS)
def test_halves_fit_together(caffe_dir, name, at, dual):
    net = NETS[name]
    shape = {"GoogLeNet": (3, 224, 224), "CaffeNet": (3, 227, 227), "AlexNet": (3, 227, 227)}
    request = Request(
        str(caffe_dir / net.path), [(at.split(), dual.split())], "cut", str(caffe_dir / net.solver),
        shapes={"data": shape.get(name, net.image)},
    )  # fmt: skip
    result = split(request)
    write(request, result)
    loaded = config.load(result.yaml)
    halves = {role: resolve(loaded, RunDir("run").piece(role)) for role in ("net1", "net2")}
    assert set(halves["net1"].compared) == set(halves["net2"].compared)
    for role, half in halves.items():
        DataflowGraph(half.net, role)  # every blob is made by one layer before it is read
    single = {layer.name for layer in halves["net1"].net.layer}
    single |= {layer.name for layer in halves["net2"].net.layer}
    with open(request.net, encoding="utf-8") as file:
        text = file.read()
    missing = [
        line for line in text.splitlines()
        if line.startswith("  name:") and line.split('"')[1] not in single
    ]  # fmt: skip
    assert not missing
