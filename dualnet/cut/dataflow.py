"""What a net's layers hand to each other, with in-place layers told apart and both phases as one.

A blob's name does not say which values are meant: each layer that works in place gives the name to
new values. Here every blob between two layers that write it is a `BlobVersion` of its own (what
compilers call static single assignment), with one or more layers that make it (a data layer for
each phase) and those that read it. Versions of both phases are one where a layer of both phases
makes or reads them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Optional

from dualnet.cut.graph import included_layers
from dualnet.errors import ConfigError

__all__ = ["PHASES", "Place", "BlobVersion", "DataflowGraph", "nearest"]

PHASES = ("TRAIN", "TEST")

#: A layer's number in the prototxt, and which of its bottoms or tops.
Place = tuple[int, int]


@dataclass(eq=False)
class BlobVersion:
    """One version of a blob: a layer that works in place makes a new one under the same name.

    Attributes:
        name: The blob's name.
        makers: Tops that these values come from, one or one a phase.
        readers: Bottoms that take them, in order; an in-place layer is the last.
        phases: Where it is made.
    """

    name: str
    makers: list[Place] = field(default_factory=list)
    readers: list[Place] = field(default_factory=list)
    phases: set[str] = field(default_factory=set)


class DataflowGraph:
    """The layers of a net in training and test.

    Args:
        net: A NetParameter.
        path: Where it was read, for messages.
        phases: The phases to follow.
        states: Phase to the NetState that the solver adds, for stages and levels.

    Attributes:
        layers: The prototxt's layers; all numbers are positions in this list.
        used: Phase to the numbers of its layers, in order.
        reads, makes: Number to the versions of a layer's bottoms and tops.
        versions: Every version, in the order in which they are made.

    Raises:
        ConfigError: A layer reads what no layer before it makes, or two layers make one blob.
    """

    def __init__(
        self,
        net: Any,
        path: str,
        phases: Iterable[str] = PHASES,
        states: Optional[dict[str, Any]] = None,
    ) -> None:
        self.net, self.path = net, path
        self.layers: list[Any] = list(net.layer)
        self.used: dict[str, list[int]] = {}
        self.reads: dict[int, list[BlobVersion]] = {}
        self.makes: dict[int, list[BlobVersion]] = {}
        self.versions: list[BlobVersion] = []
        for phase in phases:
            self._connect(phase, (states or {}).get(phase))
        self._join_by_name()
        for version in self.versions:
            version.makers.sort()
            version.readers.sort()
        self.versions.sort(key=lambda version: version.makers[0])

    @property
    def numbers(self) -> list[int]:
        """The layers of any phase, in order."""
        return sorted(self.makes)

    def phases_of(self, number: int) -> set[str]:
        """The phases that a layer is in."""
        return {phase for phase, used in self.used.items() if number in used}

    def numbers_of(self, name: str) -> list[int]:
        """The layers of that name, one a phase where it stands twice; none for unknown names."""
        return [number for number in self.numbers if self.layers[number].name == name]

    def has_own_name(self, number: int) -> bool:
        """Whether a layer has a name, and is the only one with it in each phase."""
        name = str(self.layers[number].name)
        return bool(name) and not self.is_shared(name)

    def is_shared(self, name: str) -> bool:
        """Whether several layers of one phase have this name, as those without weights may."""
        same = {n for n, layer in enumerate(self.layers) if layer.name == name}
        return any(len(same.intersection(used)) > 1 for used in self.used.values())

    def label(self, number: int) -> str:
        """A layer in messages: its name; where that is not unique, its type and number too."""
        layer = self.layers[number]
        if self.has_own_name(number):
            return str(layer.name)
        name = f"{layer.name} " if layer.name else ""
        return f"{name}({layer.type}, number {number})"

    def last(self, blob: str) -> Optional[BlobVersion]:
        """The version that a blob's name stands for at the end of the net; None if unknown."""
        found = [version for version in self.versions if version.name == blob]
        return found[-1] if found else None

    def is_in_place(self, place: Place) -> bool:
        """Whether this top of a layer overwrites the bottom at the same position (net.cpp)."""
        number, top = place
        layer = self.layers[number]
        return top < len(layer.bottom) and layer.bottom[top] == layer.top[top]

    def overwriters(self, version: BlobVersion) -> list[int]:
        """The layers that work on a version in place."""
        return [number for number, slot in version.readers if self._overwrites(number, slot)]

    def _overwrites(self, number: int, slot: int) -> bool:
        return slot < len(self.layers[number].top) and self.is_in_place((number, slot))

    def _connect(self, phase: str, state: Any) -> None:
        """Follow the blobs through the layers of one phase."""
        current: dict[str, BlobVersion] = {}
        self.used[phase] = []
        for number in included_layers(self.net, phase, self.path, state):
            layer = self.layers[number]
            self.used[phase].append(number)
            reads = [self._read(number, blob, current, phase) for blob in layer.bottom]
            reads = self._join(self.reads, number, reads, current)
            for slot, version in enumerate(reads):
                if (number, slot) not in version.readers:
                    version.readers.append((number, slot))
            makes = []
            for top, blob in enumerate(layer.top):
                if blob in current and not self.is_in_place((number, top)):
                    raise ConfigError(
                        f"{self.path}: layer {self.label(number)} makes {blob}, which layer "
                        f"{self._maker(current[blob])} makes already, in phase {phase}; rename "
                        "one of them"
                    )
                makes.append(BlobVersion(blob))
                current[blob] = makes[-1]
            makes = self._join(self.makes, number, makes, current)
            for top, version in enumerate(makes):
                version.phases.add(phase)
                if (number, top) not in version.makers:
                    version.makers.append((number, top))
                if version not in self.versions:
                    self.versions.append(version)

    def _join_by_name(self) -> None:
        """Blobs of one name in both phases are one, also where no layer of both phases reads them.

        As labels are that a loss reads in training alone and an accuracy in tests alone.
        """
        named: dict[str, list[BlobVersion]] = {}
        for version in self.versions:
            named.setdefault(version.name, []).append(version)
        for versions in named.values():
            # Where a layer works in place, the name alone does not say which values are meant.
            if len(versions) == 2 and not versions[0].phases & versions[1].phases:
                self._merge(versions[0], versions[1], {})

    def _read(
        self, number: int, blob: str, current: dict[str, BlobVersion], phase: str
    ) -> BlobVersion:
        if blob not in current:
            raise ConfigError(
                f"{self.path}: layer {self.label(number)} reads {blob} in phase {phase}, and no "
                f"layer before it makes that{nearest(blob, current)}"
            )
        return current[blob]

    def _join(
        self,
        table: dict[int, list[BlobVersion]],
        number: int,
        versions: list[BlobVersion],
        current: dict[str, BlobVersion],
    ) -> list[BlobVersion]:
        """Unify the blob versions of a layer that both phases contain: two at one place are one."""
        known = table.setdefault(number, versions)
        for old, new in zip(list(known), versions):
            if old is not new:
                self._merge(old, new, current)
        return table[number]

    def _merge(self, old: BlobVersion, new: BlobVersion, current: dict[str, BlobVersion]) -> None:
        old.makers += [place for place in new.makers if place not in old.makers]
        old.readers += [place for place in new.readers if place not in old.readers]
        old.phases |= new.phases
        if new in self.versions:
            self.versions.remove(new)
        for versions in (*self.reads.values(), *self.makes.values()):
            versions[:] = [old if version is new else version for version in versions]
        for blob, version in current.items():
            if version is new:
                current[blob] = old

    def _maker(self, version: BlobVersion) -> str:
        return self.label(version.makers[0][0])


def nearest(name: str, names: Iterable[str]) -> str:
    """`; did you mean …?` where a name is close to one that there is, else nothing."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {close[0]}?" if close else ""
