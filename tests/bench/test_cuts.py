"""Chains to measure: how `--cut` spells them, and what is split."""

from __future__ import annotations

import pytest

from dualnet.bench.cuts import cases, parse_chain, spelled
from dualnet.errors import UsageError


@pytest.mark.parametrize(
    ("text", "cuts"),
    [
        ("pool1:conv2", [(["pool1"], ["conv2"])]),
        ("a,b:conv4,norm4", [(["a", "b"], ["conv4", "norm4"])]),
        ("pool1:conv2+pool2:conv3", [(["pool1"], ["conv2"]), (["pool2"], ["conv3"])]),
    ],
)
def test_a_chain_is_spelled_by_its_cuts(text, cuts):
    assert parse_chain(text) == cuts and spelled(cuts) == text


@pytest.mark.parametrize("text", ["pool1", "pool1:", ":conv2", "pool1:conv2+", "pool1:conv2+pool2"])
def test_what_spells_no_chain_is_refused(text):
    with pytest.raises(UsageError, match="expected BLOB:LAYER, as pool1:conv2"):
        parse_chain(text)


def test_each_chain_is_cut_out_of_the_single_net(workdir, tmp_path):
    settings = ["train.batch_size=8", "net3.threads=1", "coupling.target=backprop"]
    wanted = ["pool1:conv2+pool2:conv3", "pool1:conv2+pool2:conv3+pool4:ip1"]
    three, four = cases("configs/digits.yaml", settings, wanted, str(tmp_path))
    assert three.pieces == ["net1", "net2", "net3"] and three.chain == wanted[0]
    assert four.pieces == [*three.pieces, "net4"] and four.chain == wanted[1]
    assert three.config.piece("net3").threads == 1
    assert three.config.coupling.target == "backprop"
    assert three.names == {"net": "digits", "cut": wanted[0]}
    (own,) = cases("configs/digits.yaml", ["train.batch_size=8"], [], str(tmp_path))
    assert own.pieces == ["net1", "net2"] and own.chain == "pool2:conv3"
