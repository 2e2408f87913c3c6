"""What layers and blobs are called in the pieces below and above a cut (net1 and net2 of two).

Both keep the net's names, with four exceptions. The dual section's copies in the upper piece have a
`p` appended (conv3p), as have the tops of Split layers. A dual layer that has no name of its own is
called after its top, for the configuration names it. Where a layer works in place on values that
have to stay whole, because they are sent or compared, its top becomes a blob of its own, named
after the layer (relu3). What is new gets a name that is free.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dualnet.cut.dataflow import BlobVersion
from dualnet.cut.split.flow import Flow
from dualnet.cut.split.partition import Partition
from dualnet.errors import ConfigError

__all__ = ["Names", "Unique", "choose_names"]


class Unique:
    """Names that are taken, and new ones that are not."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    def new(self, name: str, more: str = "_") -> str:
        """`name`, with `more` appended until nothing else is called so."""
        while name in self._taken:
            name += more
        self._taken.add(name)
        return name


@dataclass(frozen=True)
class Names:
    """The names of both nets.

    Attributes:
        originals, copies: Number of a dual layer to its name in the lower piece, and its copy's in
            the upper one.
        lower, upper: A version to its blob's name there, as the layer that makes it has it.
        around: A version to the top of the Split layer that leads it around the upper piece's dual
            section.
        layers: Names of layers that are taken.
    """

    originals: dict[int, str]
    copies: dict[int, str]
    lower: dict[BlobVersion, str]
    upper: dict[BlobVersion, str]
    around: dict[BlobVersion, str]
    layers: frozenset[str]

    @property
    def dual(self) -> dict[str, str]:
        """The lower piece's dual layers to their copies; a layer of each phase is in it once."""
        return {name: self.copies[number] for number, name in self.originals.items()}

    def sent_name(self, version: BlobVersion) -> str:
        """The upper piece's name of a compared version: also that of the lower piece's input."""
        return self.around.get(version) or self.upper[version]


def choose_names(partition: Partition, flow: Flow, used: Iterable[str] = ()) -> Names:
    """Name everything.

    Args:
        partition, flow: The cut.
        used: Names of layers and blobs of the pieces further below.

    Raises:
        ConfigError: A blob has to stay whole, and a layer of one phase alone overwrites it.
    """
    dataflow = partition.dataflow
    taken = {layer.name for layer in dataflow.net.layer}
    layers = Unique({*taken, *used})
    blobs = Unique([*used, *(version.name for version in dataflow.versions)])
    section = set(partition.dual)
    originals: dict[int, str] = {}
    for number in partition.dual:
        layer = dataflow.layers[number]
        originals[number] = layer.name
        if not dataflow.has_own_name(number):
            plain = layer.type.lower() if dataflow.is_in_place((number, 0)) else layer.top[0]
            originals[number] = layers.new(plain)
    in_upper = {name: layers.new(f"{name}p", "p") for name in dict.fromkeys(originals.values())}
    copies = {number: in_upper[name] for number, name in originals.items()}
    whole = {*partition.crossing, *(pair.version for pair in flow.compared)}
    lower: dict[BlobVersion, str] = {}
    upper: dict[BlobVersion, str] = {}
    #: (a layer's number, its name in the piece): the blob that it gets.
    own: dict[tuple[int, str], str] = {}

    compared = {pair.version for pair in flow.compared}

    def named(version: BlobVersion, names: dict[BlobVersion, str], plain: str, layer: str) -> str:
        """Blob name of a version: `plain`, unless a layer works in place.

        An in-place layer keeps the name that it overwrites, unless that blob must stay intact
        because it is sent or compared: then the name is the layer's.
        """
        number, top = version.makers[0]
        if not dataflow.is_in_place((number, top)):
            return plain
        before = dataflow.reads[number][top]
        if before is version and version in whole:
            raise ConfigError(
                f"{dataflow.path}: layer {layer} works on {version.name} in place in one phase "
                "only, and that blob is exchanged; give it a top of its own"
            )
        # Backward in place overwrites the gradient, and that of what is compared has to be sent.
        keeps_gradient = names is upper and version in compared
        if before in names and before not in whole and not keeps_gradient:
            return names[before]
        if (number, layer) not in own:
            free = layer if dataflow.has_own_name(number) else dataflow.layers[number].type.lower()
            own[number, layer] = blobs.new(free, "_out")
        return own[number, layer]

    for version in dataflow.versions:
        number = version.makers[0][0]
        if number in partition.lower or number in section:
            lower[version] = named(version, lower, version.name, dataflow.layers[number].name)
    for version in partition.crossing:
        upper[version] = lower[version]
    for version in dataflow.versions:
        number = version.makers[0][0]
        layer = dataflow.layers[number].name
        if number in section:
            plain = version.name
            if not dataflow.is_in_place(version.makers[0]):
                plain = blobs.new(f"{version.name}p", "p")
            upper[version] = named(version, upper, plain, copies[number])
        elif number not in partition.lower:
            upper[version] = named(version, upper, version.name, layer)
    around = {
        pair.version: blobs.new(f"{upper[pair.version]}p", "p")
        for pair in flow.compared
        if pair.needs_split
    }
    taken |= {*originals.values(), *copies.values()}
    return Names(originals, copies, lower, upper, around, frozenset(taken))
