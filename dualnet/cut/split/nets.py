"""The text of the pieces below and above a cut, from the net and what was found out about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from dualnet.backend import caffe_pb2
from dualnet.cut.dataflow import BlobVersion
from dualnet.cut.prototxt import Source, Written, commented, format_fields, format_layer
from dualnet.cut.shapes import Built
from dualnet.cut.split.flow import Flow
from dualnet.cut.split.headers import Exchanged, lower_text, upper_text
from dualnet.cut.split.names import Names, Unique
from dualnet.cut.split.partition import Partition

__all__ = ["NetWriter"]


@dataclass
class NetWriter:
    """Writes the nets below and above a cut.

    Attributes:
        partition, flow, names: The cut.
        built: Phase to what building the net showed.
        source: The net's text.
        title: What the pieces' names begin with.
        single: What headers call the single net that all is made from.
        exchanged: What passes the cut.
        below: What passes the cut before, if there is one.
        command: How to repeat this, for the header.
    """

    partition: Partition
    flow: Flow
    names: Names
    built: Mapping[str, Built]
    source: Source
    title: str
    single: str
    exchanged: Exchanged
    below: Optional[Exchanged]
    command: str

    def __post_init__(self) -> None:
        self.dataflow = self.partition.dataflow
        self.phases = list(self.dataflow.used)
        #: Comment lines of copied layers that were lost.
        self.lost = 0
        self._new = Unique(())

    def lower(self) -> str:
        """What leads to the cut, the dual section, and a loss for every pair that is compared."""
        self._new = Unique(self.names.layers)
        header = lower_text(self.single, self.below, self.exchanged)
        parts = [self._header(header), self._fields(self.exchanged.number)]
        parts += [self._compared_input(pair.version) for pair in self.flow.compared]
        for phase in self.phases:
            parts += self._stand_ins(phase)
        order = [*self._lower_order(), *self.partition.dual]
        names = self.names.lower
        for number in order:
            wanted = self._renamed(number, names, names)
            if number in self.names.originals:
                wanted.name = self.names.originals[number]
            parts.append(self._take(self.source.layer(number, wanted)))
        compared = {pair.version for pair in self.flow.compared}
        read = {s for number in order for s in self._train_reads(number)} | compared
        unread = [version for version in names if self._is_unread(version, read)]
        parts += self._silence([names[version] for version in unread], "TRAIN")
        parts += self._losses(order)
        return "".join(parts)

    def upper(self) -> str:
        """Cut blobs and labels as inputs, the dual section's copy, and the rest."""
        self._new = Unique(self.names.layers)
        header = upper_text(self.single, self.exchanged)
        parts = [self._header(header), self._fields(self.exchanged.number + 1)]
        parts += self._cut_inputs()
        names, around = self.names.upper, self.names.around
        led = {**names, **around}
        splits = dict(around)
        for version in [s for s in splits if s in self.partition.crossing]:
            parts.append(self._split(names[version], splits.pop(version)))
        for number in sorted([*self.partition.dual, *self.partition.upper]):
            is_dual = number in self.partition.dual
            wanted = self._renamed(number, names if is_dual else led, names)
            if is_dual:
                wanted.name = self.names.copies[number]
            parts.append(self._take(self.source.layer(number, wanted)))
            for version in [s for s in splits if s in self.dataflow.makes[number]]:
                parts.append(self._split(names[version], splits.pop(version)))
        for phase in self.phases:
            unread = [
                names[version]
                for version in self.partition.crossing
                if version not in around and not self._is_read(version, phase)
            ]
            parts += self._silence(unread, phase)
        return "".join(parts)

    # Layers of the net that is cut.

    def _renamed(
        self, number: int, bottoms: Mapping[BlobVersion, str], tops: Mapping[BlobVersion, str]
    ) -> Any:
        """A copy of a layer with this net's names."""
        layer = caffe_pb2.LayerParameter()
        layer.CopyFrom(self.dataflow.layers[number])
        layer.bottom[:] = [bottoms[version] for version in self.dataflow.reads[number]]
        layer.top[:] = [tops[version] for version in self.dataflow.makes[number]]
        return layer

    def _take(self, written: Written) -> str:
        self.lost += written.lost
        return written.text

    def _lower_order(self) -> list[int]:
        """Order of the lower piece's layers: those needed for labels, for cut blobs, then the rest.

        It sends after the last cut blob. Reordering cannot move a reader past an in-place layer,
        because Caffe gives a blob that is overwritten in place no other reader (insert_splits.cpp).
        """
        lower = self.partition.lower
        first = self._needed_for(self.flow.labels)
        then = self._needed_for(self.flow.blobs) - first
        rest = set(lower) - first - then
        return [number for group in (first, then, rest) for number in lower if number in group]

    def _needed_for(self, versions: Iterable[BlobVersion]) -> set[int]:
        """The lower side's layers that some versions depend on."""
        needed: set[int] = set()
        wanted = set(versions)
        for number in reversed(self.partition.lower):
            if any(version in wanted for version in self.dataflow.makes[number]):
                needed.add(number)
                wanted.update(self.dataflow.reads[number])
        return needed

    def _train_reads(self, number: int) -> list[BlobVersion]:
        return self.dataflow.reads[number] if "TRAIN" in self.dataflow.phases_of(number) else []

    def _is_read(self, version: BlobVersion, phase: str = "TRAIN") -> bool:
        """Whether the upper side or the dual section reads a version."""
        downstream = {*self.partition.dual, *self.partition.upper}
        return any(
            number in downstream and phase in self.dataflow.phases_of(number)
            for number, _ in version.readers
        )

    def _is_unread(self, version: BlobVersion, read: Iterable[BlobVersion]) -> bool:
        """Whether a blob of the lower piece would be one of its outputs in training."""
        if "TRAIN" not in version.phases:
            return version in self.flow.labels
        return version not in read and self._is_read(version)

    # Layers that are new.

    def _stand_ins(self, phase: str) -> list[str]:
        """A zero for each label that the net has in the other phase alone."""
        written = []
        for version in self.flow.labels:
            if phase not in version.phases:
                top = self.names.lower[version]
                layer = caffe_pb2.LayerParameter(
                    name=self._new.new(f"{top}_absent"), type="DummyData", top=[top]
                )
                self._limit(layer, phase)
                layer.dummy_data_param.shape.add(dim=self._shape(version, phase))
                written.append(format_layer(layer))
        return written

    def _shape(self, version: BlobVersion, phase: str) -> list[int]:
        """A blob's shape in one phase, where it may have to be stood in for."""
        return self.built[phase].blobs[version.name] if phase in version.phases else [1]

    def _compared_input(self, version: BlobVersion) -> str:
        sent_name = self.names.sent_name(version)
        layer = caffe_pb2.LayerParameter(
            name=self._new.new(f"{sent_name}_data"), type="Input", top=[sent_name]
        )
        self._limit(layer, "TRAIN")
        layer.input_param.shape.add(dim=self.built["TRAIN"].blobs[version.name])
        return format_layer(layer)

    def _cut_inputs(self) -> list[str]:
        """One Input layer for all that the lower piece sends; one a phase if the batches differ."""
        versions = [*self.flow.blobs, *self.flow.labels]
        shapes = [[self._shape(version, phase) for version in versions] for phase in self.phases]
        is_same = all(one == shapes[0] for one in shapes)
        name = self._new.new(f"{self.names.upper[versions[0]]}_data")
        written = []
        for phase, sizes in list(zip(self.phases, shapes))[: 1 if is_same else None]:
            tops = [self.names.upper[version] for version in versions]
            layer = caffe_pb2.LayerParameter(name=name, type="Input", top=tops)
            if not is_same:
                self._limit(layer, phase)
            for size in sizes:
                layer.input_param.shape.add(dim=size)
            written.append(format_layer(layer))
        return written

    def _split(self, bottom: str, top: str) -> str:
        name = self._new.new(f"{bottom}_split")
        layer = caffe_pb2.LayerParameter(name=name, type="Split", bottom=[bottom], top=[top])
        return format_layer(layer)

    def _silence(self, blobs: list[str], phase: str) -> list[str]:
        if not blobs:
            return []
        name = self._new.new("silence")
        layer = caffe_pb2.LayerParameter(name=name, type="Silence", bottom=blobs)
        self._limit(layer, phase)
        return [format_layer(layer)]

    def _losses(self, order: list[int]) -> list[str]:
        """One loss a pair, weighted 1; `coupling` in the YAML sets what the target asks for."""
        here = {str(self.dataflow.layers[number].name) for number in order}
        here.update(self.names.originals.values())
        here.update(self.names.lower.values())
        pairs = [(self.names.lower[p.version], self.names.sent_name(p.version))
                 for p in self.flow.compared]  # fmt: skip
        written = []
        for blob, sent_name in pairs:
            name = "loss" if len(pairs) == 1 and "loss" not in here else f"{blob}_loss"
            name = Unique(here).new(name)
            layer = caffe_pb2.LayerParameter(
                name=name, type="EuclideanLoss", bottom=[blob, sent_name], top=[name],
                loss_weight=[1],
            )  # fmt: skip
            self._limit(layer, "TRAIN")
            written.append(format_layer(layer))
        return written

    def _limit(self, layer: Any, phase: str) -> None:
        """Restrict a layer to a phase, where the net has two."""
        layer.include.add(phase=caffe_pb2.Phase.Value(phase))

    # The head of the file.

    def _fields(self, number: int) -> str:
        """The net's fields besides its layers."""
        net = caffe_pb2.NetParameter()
        net.CopyFrom(self.dataflow.net)
        net.ClearField("layer")
        net.name = f"{self.title}_net{number}"
        return format_fields(net)

    def _header(self, text: str) -> str:
        return commented(f"{text} Made by", self.command)
