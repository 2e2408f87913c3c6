"""Caffe's own nets, where Caffe's distribution is at hand: they are split, and fit together.

scripts/compare_cuts.py trains them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dualnet import config
from dualnet.cut.dataflow import DataflowGraph
from dualnet.cut.graph import read_net
from dualnet.cut.split import Request, split, write
from dualnet.cut.split.section import has_loss
from dualnet.rundir import RunDir
from dualnet.training.net.resolve import resolve
from tests.cut.chain import compare, cut_up, write_images
from tests.cut.split.cuts import NETS, prepare

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
    """Caffe's examples/ and models/, which scripts/install_caffe.sh puts beside its interpreter."""
    python = os.environ.get("DUALNET_BVLC_PYTHON", "")
    path = Path(python).parent.parent / "share" / "caffe"
    if not python or not path.is_dir():
        pytest.skip("DUALNET_BVLC_PYTHON is unset or has no share/caffe: scripts/install_caffe.sh")
    return path


#: GoogLeNet in five pieces: its first classifier on the third, its second on the fourth.
FIVE = [
    ("pool2/3x3_s2", "inception_3a/3x3_reduce"),
    ("inception_4a/3x3_reduce", "inception_4a/3x3"),
    ("inception_4d/3x3_reduce", "inception_4d/3x3"),
    ("inception_4e/output", "pool4/3x3_s2"),
]


@pytest.mark.parametrize("target", ["gradient", "backprop"])
def test_googlenet_in_five_pieces_gets_the_gradients_of_the_whole(caffe_dir, target):
    write_images()
    path = prepare(NETS["GoogLeNet"], ".", caffe_dir)
    yaml, _ = cut_up(path, FIVE)
    losses = {
        number: sum(map(has_loss, read_net(f"cut/net{number}_train_test.prototxt").layer))
        for number in range(1, 6)
    }
    compared = [len(cut.pairs) for cut in config.load(yaml).cuts] + [0]
    assert [losses[n] - compared[n - 1] for n in losses] == [0, 0, 1, 1, 1]
    differences = compare(path, yaml, target)
    assert max(differences.values()) < 2e-5, differences


@pytest.mark.parametrize(("name", "at", "dual"), CUTS)
def test_pieces_fit_together(caffe_dir, name, at, dual):
    net = NETS[name]
    shape = {"GoogLeNet": (3, 224, 224), "CaffeNet": (3, 227, 227), "AlexNet": (3, 227, 227)}
    request = Request(
        str(caffe_dir / net.path), [(at.split(), dual.split())], "cut", str(caffe_dir / net.solver),
        shapes={"data": shape.get(name, net.image)},
    )  # fmt: skip
    result = split(request)
    write(request, result)
    loaded = config.load(result.yaml)
    pieces = {piece: resolve(loaded, RunDir("run").piece(piece)) for piece in ("net1", "net2")}
    assert set(pieces["net1"].compared_above) == set(pieces["net2"].compared_below)
    for name, piece in pieces.items():
        DataflowGraph(piece.net, name)  # every blob is made by one layer before it is read
    single = {layer.name for layer in pieces["net1"].net.layer}
    single |= {layer.name for layer in pieces["net2"].net.layer}
    with open(request.net, encoding="utf-8") as file:
        text = file.read()
    missing = [
        line for line in text.splitlines()
        if line.startswith("  name:") and line.split('"')[1] not in single
    ]  # fmt: skip
    assert not missing
