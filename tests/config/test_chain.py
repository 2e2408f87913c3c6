"""Chains of any length in YAML: lists, names, and both at once."""

import pytest

from dualnet import config
from dualnet.config.chain import cut_name, number_of, piece_names
from dualnet.errors import ConfigError

THREE = """
pieces:
  - {solver: a.prototxt}
  - {solver: b.prototxt, device: 1}
  - {solver: c.prototxt, threads: 2}
cuts:
  - {blobs: [pool1], dual: {conv2: conv2p}}
  - {blobs: [pool2], dual: {conv3: conv3p}, target: backprop}
"""


@pytest.fixture
def load(tmp_path):
    def from_text(text, *overrides):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return config.load(str(path), overrides)

    return from_text


def test_lists_give_pieces_and_cuts_in_their_order(load):
    loaded = load(THREE)
    assert loaded.names == ("net1", "net2", "net3")
    assert [piece.solver for piece in loaded.pieces] == ["a.prototxt", "b.prototxt", "c.prototxt"]
    assert [cut.blobs for cut in loaded.cuts] == [["pool1"], ["pool2"]]
    assert loaded.piece("net3").threads == 2


def test_names_are_the_same_chain_as_lists(load):
    named = """
net1: {solver: a.prototxt}
net2: {solver: b.prototxt, device: 1}
net3: {solver: c.prototxt, threads: 2}
cut1: {blobs: [pool1], dual: {conv2: conv2p}}
cut2: {blobs: [pool2], dual: {conv3: conv3p}, target: backprop}
"""
    assert load(named) == load(THREE)


def test_set_names_a_piece_or_a_cut_of_the_lists(load):
    loaded = load(THREE, "net3.device=2", "cut2.target=gradient", "net1.solver=z.prototxt")
    assert [piece.device for piece in loaded.pieces] == ["cpu", 1, 2]
    assert loaded.pieces[0].solver == "z.prototxt" and loaded.cuts[1].target == "gradient"
    assert loaded.cuts[1].blobs == ["pool2"]


def test_what_is_resolved_loads_as_what_it_was(load, tmp_path):
    for text in (THREE, "", "net1: {solver: a}\ncut: {blobs: [x]}", "pieces: [{solver: s}]"):
        loaded = load(text)
        assert load(loaded.to_yaml()) == loaded


def test_a_chain_of_two_is_written_under_the_names_that_it_had(load):
    keys = list(load("").to_dict())
    assert {"net1", "net2", "cut"} <= set(keys) and not {"pieces", "cuts"} & set(keys)
    assert {"pieces", "cuts"} <= set(load(THREE).to_dict())


def test_a_cut_may_have_a_rule_of_its_own(load):
    loaded = load(THREE, "coupling.gamma=10", "cut1.gamma=5")
    assert [loaded.coupling_of(i).target for i in (0, 1)] == ["gradient", "backprop"]
    assert [loaded.coupling_of(i).gamma for i in (0, 1)] == [5.0, 10.0]


def test_a_chain_of_one_is_the_single_net(load):
    loaded = load("pieces: [{solver: s.prototxt}]")
    assert loaded.names == ("single",) and loaded.cuts == ()
    assert loaded.piece("single").solver == "s.prototxt"


@pytest.mark.parametrize(
    "override, message",
    [
        ("net4.device=1", "net4: the chain has 3 pieces and 2 cuts"),
        ("cut3.target=prox", "cut3: the chain has 3 pieces and 2 cuts"),
        ("pieces=[]", "pieces: expected a list of sections"),
        ("cuts=[{blobs: [a]}, {}, {}]", "cuts: 3 for 3 pieces; 2 are needed"),
        ("net2=5", "net2: expected keys and values, found 5"),
        ("net2.solvr=x", "unknown key net2.solvr; did you mean net2.solver?"),
        ("cut2.blobs=[]", "cut2.blobs: empty; name the blobs that net2 sends up"),
        ("cut1.target=prox", "cut1: target prox asks net2 for the loss at other points"),
        ("coupling.target=admm", "cut1: target admm asks net2 for the loss"),
        ("cut2.target=frozen", "cut1: target gradient below cut2, whose target is frozen"),
        ("cut2.target=none", "cut2.target: 'none' is none of"),
        ("net3.device=-1", "net3.device: -1 is neither cpu nor"),
        ("update.ascend=net4", "update.ascend: 'net4' is none of"),
        ("cut1.gamma=.inf", "cut1.gamma: inf is not a finite number"),
    ],
)
def test_what_is_no_chain_is_refused_with_the_place(load, override, message):
    with pytest.raises(ConfigError) as found:
        load(THREE, override)
    assert message in str(found.value) and "\n" not in str(found.value)


def test_only_the_last_cut_may_ask_for_the_loss_at_points(load):
    assert load(THREE, "cut2.target=prox").coupling_of(1).target == "prox"


def test_fixed_keys_are_those_of_the_chain(load):
    keys = config.fixed_values(load(THREE), is_dual=True)
    assert {"net3.learning_rate", "cut2.blobs", "coupling.gamma"} <= set(keys)
    assert not any(key.endswith((".device", ".solver")) for key in keys)
    before = config.fixed_values(load(THREE), True)
    now = config.fixed_values(load(THREE, "cut2.blobs=[x]"), True)
    assert [change.key for change in config.changed_keys(before, now)] == ["cut2.blobs"]


def test_names_of_pieces_and_cuts():
    assert piece_names(1) == ("single",) and piece_names(3)[-1] == "net3"
    assert [number_of(name) for name in ("net12", "single", "net0", "nets")] == [12, 1, 0, 0]
    assert (cut_name(0, 2), cut_name(0, 3), cut_name(1, 3)) == ("cut", "cut1", "cut2")
