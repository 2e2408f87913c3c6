"""Pieces edited by hand: what the text of both prototxt shows before they train."""

from __future__ import annotations

import pytest

from dualnet import config
from dualnet.errors import ConfigError
from dualnet.rundir import RunDir
from dualnet.training.net.resolve import resolve
from tests.cut.singles import DATA, classifier, conv, cut_in_two

pytestmark = pytest.mark.usefixtures("workdir")


@pytest.mark.parametrize(
    ("layer", "target", "is_refused"),
    [
        ("type: 'BatchNorm'", "gradient", True),
        ("type: 'BatchNorm'", "activation", False),
        ("type: 'Dropout'", "gradient", True),
        ("type: 'ReLU' relu_param { negative_slope: 0.1 }", "gradient", True),
        ("type: 'ReLU'", "gradient", False),
    ],
)
def test_gradient_that_would_be_overwritten(tmp_path, layer, target, is_refused):
    text = (
        DATA + conv("conv1", "data") + conv("conv2", "conv1")
        + f"layer {{ name: 'last' {layer} bottom: 'conv2' top: 'conv2' }}\n" + classifier("conv2")
    )  # fmt: skip
    yaml, texts, _ = cut_in_two(tmp_path / "nets", text, "conv1", "conv2 last")
    net2 = texts["net2_train_test.prototxt"].replace('"lastp"', '"conv2p"')
    net2 = net2.replace('name: "conv2p" ' + layer, 'name: "lastp" ' + layer)
    with open(yaml.replace("dual.yaml", "net2_train_test.prototxt"), "w", encoding="utf-8") as file:
        file.write(net2)
    loaded = config.load(
        yaml, [f"coupling.target={target}", "cut.compared={conv2: conv2p}"]
    )  # fmt: skip
    if not is_refused:
        resolve(loaded, RunDir("run").piece("net2"))
        return
    with pytest.raises(ConfigError) as caught:
        resolve(loaded, RunDir("run").piece("net2"))
    assert "layer lastp works on conv2p in place" in str(caught.value)
    assert "give lastp a top of its own" in str(caught.value)
