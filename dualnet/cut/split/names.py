"""What layers and blobs are called in net1 and net2.

Both keep the single net's names, with four exceptions. The dual section's copies in net2 have a
`p` appended (conv3p), as have the tops of Split layers. A dual layer that has no name of its own is
called after its top, for the configuration names it. Where a layer works in place on values that
have to stay whole, because they are sent or compared, its top becomes a blob of its own, named
after the layer (relu3). What is new gets a name that is free.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dualnet.cut.split.flow import Flow
from dualnet.cut.split.sides import Sides
from dualnet.cut.wiring import Stream
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
        originals, copies: Number of a dual layer to its name in net1, and its copy's in net2.
        net1, net2: Stream to its blob's name there, as the layer that makes it has it.
        around: Stream to the top of the Split layer that leads it around net2's dual section.
        layers: Names of layers that are taken.
    """

    originals: dict[int, str]
    copies: dict[int, str]
    net1: dict[Stream, str]
    net2: dict[Stream, str]
    around: dict[Stream, str]
    layers: frozenset[str]

    @property
    def dual(self) -> dict[str, str]:
        """net1's dual layers: their copies in net2; a layer of each phase is in it once."""
        return {name: self.copies[number] for number, name in self.originals.items()}

    def partner(self, stream: Stream) -> str:
        """net2's name of a compared stream, which is also net1's name of the input that has it."""
        return self.around.get(stream) or self.net2[stream]


def choose_names(sides: Sides, flow: Flow) -> Names:
    """Name everything.

    Raises:
        ConfigError: A blob has to stay whole, and a layer of one phase alone overwrites it.
    """
    wiring = sides.wiring
    taken = {layer.name for layer in wiring.net.layer}
    layers = Unique(taken)
    blobs = Unique(stream.name for stream in wiring.streams)
    section = set(sides.dual)
    originals: dict[int, str] = {}
    for number in sides.dual:
        layer = wiring.layers[number]
        originals[number] = layer.name
        if not wiring.has_own_name(number):
            plain = layer.type.lower() if wiring.is_in_place((number, 0)) else layer.top[0]
            originals[number] = layers.new(plain)
    in_net2 = {name: layers.new(f"{name}p", "p") for name in dict.fromkeys(originals.values())}
    copies = {number: in_net2[name] for number, name in originals.items()}
    whole = {*sides.crossing, *(pair.stream for pair in flow.compared)}
    net1: dict[Stream, str] = {}
    net2: dict[Stream, str] = {}
    #: (a layer's number, its name in the half): the blob that it gets.
    own: dict[tuple[int, str], str] = {}

    compared = {pair.stream for pair in flow.compared}

    def named(stream: Stream, names: dict[Stream, str], plain: str, layer: str) -> str:
        """In place: as what is overwritten, or after the layer. Else `plain`."""
        number, top = stream.makers[0]
        if not wiring.is_in_place((number, top)):
            return plain
        before = wiring.reads[number][top]
        if before is stream and stream in whole:
            raise ConfigError(
                f"{wiring.path}: layer {layer} works on {stream.name} in place in one phase only, "
                "and that blob is exchanged; give it a top of its own"
            )
        # Backward in place overwrites the gradient, and net2 has to send that of what is compared.
        keeps_gradient = names is net2 and stream in compared
        if before in names and before not in whole and not keeps_gradient:
            return names[before]
        if (number, layer) not in own:
            free = layer if wiring.has_own_name(number) else wiring.layers[number].type.lower()
            own[number, layer] = blobs.new(free, "_out")
        return own[number, layer]

    for stream in wiring.streams:
        number = stream.makers[0][0]
        if number in sides.lower or number in section:
            net1[stream] = named(stream, net1, stream.name, wiring.layers[number].name)
    for stream in sides.crossing:
        net2[stream] = net1[stream]
    for stream in wiring.streams:
        number = stream.makers[0][0]
        layer = wiring.layers[number].name
        if number in section:
            plain = stream.name
            if not wiring.is_in_place(stream.makers[0]):
                plain = blobs.new(f"{stream.name}p", "p")
            net2[stream] = named(stream, net2, plain, copies[number])
        elif number not in sides.lower:
            net2[stream] = named(stream, net2, stream.name, layer)
    around = {
        pair.stream: blobs.new(f"{net2[pair.stream]}p", "p")
        for pair in flow.compared
        if pair.is_led_around
    }
    taken |= {*originals.values(), *copies.values()}
    return Names(originals, copies, net1, net2, around, frozenset(taken))
