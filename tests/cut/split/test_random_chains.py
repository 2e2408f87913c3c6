"""Nets cut at random: either refused in one line, or every gradient is the single net's."""

from __future__ import annotations

import random

import pytest

from dualnet.cut.graph import NetGraph, read_net
from dualnet.errors import DualnetError
from tests.cut.chain import compare, cut_up
from tests.cut.singles import write_single
from tests.cut.split.chains import CHAINS
from tests.cut.split.topologies import TOPOLOGIES

pytestmark = pytest.mark.usefixtures("workdir")

NETS = sorted({text for text, *_ in (*TOPOLOGIES.values(), *CHAINS.values())})
#: Chains compared in each test.
COUNT = 5


def random_cut(draw, graph):
    """A blob, now and then two, and layers that read them or what those make."""
    blobs = draw.sample(list(graph.consumers), draw.choice([1, 1, 1, 1, 2]))
    readers = [layer for blob in blobs for layer in graph.consumers[blob] if layer.top]
    dual = draw.sample(readers, min(len(readers), draw.choice([1, 1, 2])))
    tops = {top for layer in dual for top in layer.top}
    behind = [layer for layer in graph.layers if tops & set(layer.bottom) and layer.top]
    if behind and draw.random() < 0.4:
        dual.append(draw.choice(behind))
    names = dict.fromkeys(layer.name or layer.top[0] for layer in dual)
    return " ".join(blobs), " ".join(names) or "none"


@pytest.mark.parametrize("seed", range(4))
def test_random_chains_are_whole_or_refused(tmp_path, seed):
    draw = random.Random(seed)
    compared = refused = 0
    while compared < COUNT:
        path = write_single(tmp_path / "nets", draw.choice(NETS))
        graph = NetGraph(read_net(path), "TRAIN", path)
        place = {top: n for n, layer in enumerate(graph.layers) for top in layer.top}
        cuts = [random_cut(draw, graph) for _ in range(draw.choice([1, 2, 2, 3]))]
        cuts.sort(key=lambda cut: place[cut[0].split()[0]])
        try:
            yaml, _ = cut_up(path, cuts, force=True)
        except DualnetError as error:
            assert "\n" not in str(error) and error.exit_code == 2
            refused += 1
            assert refused < 1000
            continue
        for target in ("gradient", "backprop"):
            differences = compare(path, yaml, target)
            assert max(differences.values()) < 2e-5, (cuts, target, differences)
        compared += 1
