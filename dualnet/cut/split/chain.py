"""A net cut several times, one cut after the other.

    single --cut 1--> net1 | rest --cut 2--> net2 | rest --cut 3--> net3 | net4

Each cut divides what the cut before left above it, which is a net of its own: its inputs are what
crossed that cut. Of those it is known which are learnt below (flow.py). Cuts are given by the
single net's names, and translated where the rest has other names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Optional

from google.protobuf import text_format

from dualnet.backend import caffe_pb2
from dualnet.cut.dataflow import BlobVersion, DataflowGraph
from dualnet.cut.prototxt import Source
from dualnet.cut.shapes import Built, build_phases
from dualnet.cut.split.flow import Flow, find_flow
from dualnet.cut.split.headers import Exchanged, exchanged
from dualnet.cut.split.names import Names, choose_names
from dualnet.cut.split.nets import NetWriter
from dualnet.cut.split.partition import Partition, find_partition
from dualnet.cut.split.section import numbers_of
from dualnet.errors import ConfigError

__all__ = ["CutNames", "Division", "Whole", "check_order", "divide"]

#: Cut blobs and dual layers of a cut.
CutNames = tuple[Sequence[str], Sequence[str]]


@dataclass(frozen=True)
class Whole:
    """A net that is cut: the single net, or what a cut left above it.

    Attributes:
        dataflow: Its layers and blobs.
        built: Phase to what building it showed.
        source: Its text.
        learnt_inputs: Blobs of its inputs that pieces below learn; None for the single net.
    """

    dataflow: DataflowGraph
    built: Mapping[str, Built]
    source: Source
    learnt_inputs: Optional[list[str]] = None


class Division(NamedTuple):
    """A cut, and what it divides a net into.

    Attributes:
        partition, flow: What was found out about it.
        exchanged: What passes it, by name.
        lower: The prototxt of the piece below.
        upper: That of all that is above.
        lost: Comment lines of layers that are in neither.
    """

    partition: Partition
    flow: Flow
    exchanged: Exchanged
    lower: str
    upper: str
    lost: int


def divide(
    whole: Whole, cuts: Sequence[CutNames], title: str, states: Mapping[str, object], command: str
) -> list[Division]:
    """Cut a net at each place in turn.

    Args:
        whole: The single net.
        cuts: From the data to the loss, in its names; `check_order` has found them to be so.
        title: What the pieces' names begin with.
        states: Phase to the NetState that the solver adds.
        command: How to repeat this, for the headers.

    Raises:
        ConfigError: The net cannot be cut so.
    """
    single = whole.dataflow.net.name or "the single net"
    divisions: list[Division] = []
    left = list(cuts)
    used: set[str] = set()
    while left:
        at, dual = left.pop(0)
        dataflow = whole.dataflow
        partition = find_partition(dataflow, at, dual)
        flow = find_flow(partition, whole.built["TRAIN"].learning(dataflow), whole.learnt_inputs)
        names = choose_names(partition, flow, used)
        passing = exchanged(len(divisions) + 1, partition, flow, names)
        below = divisions[-1].exchanged if divisions else None
        writer = NetWriter(
            partition, flow, names, whole.built, whole.source, title, single, passing, below,
            command,
        )  # fmt: skip
        lower, upper = writer.lower(), writer.upper()
        divisions.append(Division(partition, flow, passing, lower, upper, writer.lost))
        if left:
            used |= {*names.lower.values(), *(layer.name for layer in dataflow.layers)}
            left = [_renamed(cut, dataflow, names) for cut in left]
            whole = _rest(upper, whole, passing, states)
    return divisions


def check_order(dataflow: DataflowGraph, cuts: Sequence[CutNames]) -> None:
    """Each cut must lie above the one before, with all of that one's dual layers below it.

    Args:
        dataflow: The single net.
        cuts: In its names.

    Raises:
        ConfigError: One does not, or is no cut at all.
    """
    partitions = [find_partition(dataflow, at, dual) for at, dual in cuts]
    for number, (low, high) in enumerate(zip(partitions, partitions[1:]), 1):
        start = f"{dataflow.path}: cut {number + 1} (--at {' '.join(cuts[number][0])}): "
        above = {*low.dual, *low.upper}
        for version in high.crossing:
            is_asked = version not in high.found
            if is_asked and version.makers[0][0] not in above and version not in low.crossing:
                raise ConfigError(
                    f"{start}{version.name} does not come after cut {number} "
                    f"(--at {' '.join(cuts[number - 1][0])}); give the cuts in the order from the "
                    "data to the loss"
                )
        for layer in low.dual:
            if layer not in high.lower:
                name = dataflow.label(layer)
                raise ConfigError(
                    f"{start}dual layer {name} of cut {number} does not come before it, and a "
                    f"piece has its dual layers whole; cut after {name}, or leave it out of the "
                    f"--dual of cut {number}"
                )


def _renamed(cut: CutNames, dataflow: DataflowGraph, names: Names) -> CutNames:
    """A later cut, by the names in the net that this cut leaves above it."""
    at, dual = cut
    versions = [dataflow.last(name) for name in at]
    layers = [(name, numbers_of(dataflow, name)[0]) for name in dual]
    return (
        [_blob(version, names) for version in versions if version is not None],
        [
            name if dataflow.has_own_name(number) else _blob(dataflow.makes[number][0], names)
            for name, number in layers
        ],
    )


def _blob(version: BlobVersion, names: Names) -> str:
    """What layers beside the dual section read."""
    return names.around.get(version) or names.upper[version]


def _rest(text: str, whole: Whole, passed: Exchanged, states: Mapping[str, object]) -> Whole:
    """What a cut left above it, as a net that can be cut."""
    net = text_format.Parse(text, caffe_pb2.NetParameter())
    phases = list(whole.dataflow.used)
    dataflow = DataflowGraph(net, whole.dataflow.path, phases, dict(states))
    return Whole(dataflow, build_phases(dataflow, phases, {}), Source(text, net), passed.blobs)
