"""The nets that Caffe ships, on both providers; scripts/compare_shipped_nets.py runs them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualnet.engine.formats import prototxt
from tests.engine.differential.compare import compare
from tests.engine.differential.judge import Judge
from tests.engine.differential.shipped import net_files, shipped_net, solver_files

#: Small nets in both phases, and two in which rounding decides maxima; the script runs the rest.
NETS = [
    ("examples/cifar10/cifar10_full_sigmoid_train_test_bn.prototxt", 0),
    ("examples/cifar10/cifar10_full_sigmoid_train_test_bn.prototxt", 1),
    ("examples/cifar10/cifar10_full_train_test.prototxt", 0),
    ("examples/cifar10/cifar10_quick_train_test.prototxt", 1),
    ("examples/hdf5_classification/nonlinear_train_val.prototxt", 0),
    ("examples/mnist/lenet_train_test.prototxt", 0),
    ("examples/mnist/mnist_autoencoder.prototxt", 0),
    ("examples/mnist/mnist_autoencoder.prototxt", 1),
    ("examples/net_surgery/conv.prototxt", 1),
    ("examples/siamese/mnist_siamese_train_test.prototxt", 0),
    pytest.param("models/bvlc_googlenet/train_val.prototxt", 0, marks=pytest.mark.slow),
    pytest.param("models/bvlc_reference_caffenet/train_val.prototxt", 1, marks=pytest.mark.slow),
]

pytestmark = pytest.mark.bvlc


@pytest.fixture(scope="module")
def judge(bvlc_python, tmp_path_factory):
    """BVLC Caffe, one process for all nets."""
    with Judge(bvlc_python, tmp_path_factory.mktemp("judge")) as judge:
        yield judge


@pytest.fixture(scope="module")
def root(bvlc_python):
    """The folder of Caffe's models/ and examples/, which scripts/install_caffe.sh puts there."""
    found = Path(bvlc_python).parent.parent / "share" / "caffe-examples"
    if not found.exists():
        pytest.skip(f"{found} is missing: run scripts/install_caffe.sh")
    return found


@pytest.mark.parametrize(("name", "phase"), NETS)
def test_shipped_net(judge, root, tmp_path, name, phase):
    verdict = compare(judge, tmp_path, shipped_net(root / name, phase), stored=False)
    assert not verdict.mismatches, ", ".join(map(str, verdict.mismatches))
    assert verdict.arrays > 5


def test_every_prototxt_loads(root):
    nets, solvers = net_files(root), solver_files(root)
    assert len(nets) > 20 and len(solvers) > 20
    for path in nets:
        assert shipped_net(path, 0).inputs, path
    for path in solvers:
        assert prototxt.read_solver(path).base_lr > 0, path
