"""All blobs at which a net can be cut, and for the others the reason why not."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Optional

from dualnet.cut.dataflow import BlobVersion, DataflowGraph
from dualnet.cut.plan.parallel import parallel_blobs
from dualnet.cut.split.flow import Flow, find_flow
from dualnet.cut.split.partition import Partition, find_partition
from dualnet.cut.split.section import dual_name, has_loss
from dualnet.errors import ConfigError

__all__ = ["Cut", "Refusal", "can_follow", "find_cuts"]


@dataclass(frozen=True, eq=False)
class Cut:
    """A cut that `dualnet split --at … --dual …` makes.

    Attributes:
        blobs: The cut blobs, one in most nets.
        dual: The layers that both nets are to have.
        partition: Which layer is where.
        flow: What crosses, and what is compared.
    """

    blobs: list[str]
    dual: list[str]
    partition: Partition
    flow: Flow

    @property
    def at(self) -> str:
        """The cut blobs in one word, as `--at` lists them."""
        return " ".join(self.blobs)

    @property
    def crossing(self) -> list[str]:
        """The blobs that go up, labels left out."""
        return [version.name for version in self.flow.blobs]


def can_follow(low: Cut, high: Cut) -> bool:
    """Whether one chain can have both cuts: the dual layers of the lower one lie between them."""
    return {*low.partition.lower, *low.partition.dual} <= set(high.partition.lower)


@dataclass(frozen=True)
class Refusal:
    """A blob at which the net cannot be cut."""

    at: str
    reason: str


def find_cuts(
    dataflow: DataflowGraph, learning: Collection[int]
) -> tuple[list[Cut], list[Refusal]]:
    """Try each blob of the training phase, and blobs of branches side by side, in forward order.

    The dual section is the shortest one that learns: the layers from the cut blob to the first with
    weights. Others are possible, and need more of the time.

    Args:
        dataflow: The net.
        learning: Numbers of the layers whose parameters training changes.
    """
    cuts: list[Cut] = []
    refusals: list[Refusal] = []
    for version in dataflow.versions:
        # A blob's name stands for its values after all layers that work on it in place.
        if "TRAIN" not in version.phases or dataflow.last(version.name) is not version:
            continue
        dual = _dual_section(dataflow, version, learning)
        try:
            if not dual and version.readers:
                partition = find_partition(dataflow, [version.name], [])
                find_flow(partition, set(learning))
                raise ConfigError("no layer that learns stands between it and the loss")
            partition = find_partition(dataflow, [version.name], dual)
            twin = next((cut for cut in cuts if cut.partition.lower == partition.lower), None)
            if twin is not None:
                raise ConfigError(f"the same cut as {twin.at}")
            cuts.append(Cut([version.name], dual, partition, find_flow(partition, set(learning))))
        except ConfigError as error:
            refusals.append(Refusal(version.name, _reason(str(error), dataflow.path, version.name)))
    cuts += _parallel_cuts(dataflow, learning, cuts)
    cuts.sort(key=lambda cut: max(_place(dataflow, blob) for blob in cut.blobs))
    return cuts, refusals


def _parallel_cuts(
    dataflow: DataflowGraph, learning: Collection[int], cuts: Sequence[Cut]
) -> list[Cut]:
    """Cuts of several blobs, but for those that one blob makes too."""
    found: list[Cut] = []
    for versions in parallel_blobs(dataflow, learning):
        names = [version.name for version in versions]
        sections = [_dual_section(dataflow, version, learning) for version in versions]
        # All branches' next layers; where one branch's are of net2 alone, those of another.
        whole = list(dict.fromkeys(name for section in sections for name in section))
        for dual in [whole, *sections]:
            try:
                partition = find_partition(dataflow, names, dual)
                flow = find_flow(partition, set(learning))
            except ConfigError:
                continue  # each of its blobs is refused with its reason
            if not any(cut.partition.lower == partition.lower for cut in (*cuts, *found)):
                found.append(Cut(names, dual, partition, flow))
            break
    return found


def _place(dataflow: DataflowGraph, blob: str) -> tuple[int, int]:
    version = dataflow.last(blob)
    return version.makers[0] if version is not None else (0, 0)


def _dual_section(
    dataflow: DataflowGraph, version: BlobVersion, learning: Collection[int]
) -> list[str]:
    """The layers along one path from the cut, to the first that learns; [] if none does."""
    section: list[str] = []
    at: Optional[BlobVersion] = version
    while at is not None:
        reader = next((n for n, _ in at.readers if _can_be_dual(dataflow, n)), None)
        if reader is None:
            return []
        if dataflow.has_own_name(reader) or reader in learning:
            section.append(dual_name(dataflow, reader))
        if reader in learning:
            return section
        at = dataflow.makes[reader][0]
    return section


def _can_be_dual(dataflow: DataflowGraph, number: int) -> bool:
    layer = dataflow.layers[number]
    return number in dataflow.used["TRAIN"] and bool(layer.top) and not has_loss(layer)


def _reason(message: str, path: str, at: str) -> str:
    """The message without what the table's row says already."""
    for start in (f"{path}: ", f"--at {at}: "):
        if message.startswith(start):
            message = message[len(start) :]
    if message.startswith("--dual :"):
        return "no layer that learns stands between it and the loss"
    return message
