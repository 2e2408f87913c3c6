"""Which layers go to net1, which to net2, which to both, and what crosses the cut.

The upper side is everything that depends on the cut blobs; the lower side is all the rest: what
makes the cut blobs, branches beside them, auxiliary losses below. Whatever the lower side makes and
the upper side reads crosses, whether it was named or not. The dual section belongs to the upper
side, and net1 has a copy of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dualnet.cut.wiring import Stream, Wiring, nearest
from dualnet.errors import ConfigError

__all__ = ["Sides", "dual_name", "find_sides", "has_loss"]

#: Layers without bottoms that make the same values each time; they go where they are read.
_CONSTANTS = ("Parameter", "DummyData")


@dataclass(frozen=True)
class Sides:
    """A net in two.

    Attributes:
        wiring: The single net.
        lower: Numbers of the layers of net1, the dual section left out.
        dual: Numbers of the dual section's layers, in forward order.
        upper: Numbers of the layers of net2, the dual section left out.
        crossing: What the lower side makes and the upper side or the dual section reads: the blobs
            that were asked for, then the others in the order in which they are made.
        found: Those of them that were not asked for.
    """

    wiring: Wiring
    lower: list[int]
    dual: list[int]
    upper: list[int]
    crossing: list[Stream]
    found: list[Stream]


def find_sides(wiring: Wiring, at: Sequence[str], dual: Sequence[str]) -> Sides:
    """Cut a net.

    Args:
        wiring: The single net.
        at: Names of the cut blobs; each stands for its values after all in-place layers.
        dual: The layers that both nets are to have, in any order: their names, or where a layer
            has none of its own that of its top. Layers without a name of their own that stand
            between them are taken, too.

    Raises:
        ConfigError: A name is unknown, or the net cannot be cut so; the message says why.
    """
    path = wiring.path
    asked = [_cut_blob(wiring, name) for name in _once(at, "--at", path)]
    above = _above(wiring, asked)
    for stream in asked:
        if any(number in above for number, _ in stream.makers):
            below = next(other for other in asked if stream in _reached(wiring, other))
            raise ConfigError(
                f"{path}: --at {stream.name}: it is made from {below.name}, which is a cut blob "
                f"too; name {below.name} or {stream.name}, not both"
            )
    for number in wiring.numbers:
        if _is_only_for(wiring, number, above):
            above.add(number)
    if not any(
        has_loss(wiring.layers[number]) for number in wiring.used["TRAIN"] if number in above
    ):
        names = ", ".join(stream.name for stream in asked)
        raise ConfigError(
            f"{path}: --at {names}: no loss in phase TRAIN depends on it, so net2 would learn "
            "nothing; cut below the loss"
        )
    section = _section(wiring, above, asked, dual)
    lower = [number for number in wiring.numbers if number not in above]
    crossing = _crossing(wiring, above)
    found = [stream for stream in crossing if stream not in asked]
    sides = Sides(wiring, lower, section, sorted(above - set(section)), asked + found, found)
    _check_sharing(sides)
    return sides


def has_loss(layer: Any) -> bool:
    """Whether a layer adds to the loss: as its weights say, else all whose type ends in Loss."""
    if layer.loss_weight:
        return any(layer.loss_weight)
    return str(layer.type).endswith("Loss")


def _once(names: Sequence[str], option: str, path: str) -> Sequence[str]:
    for i, name in enumerate(names):
        if name in names[:i]:
            raise ConfigError(f"{path}: {option} names {name} twice; name it once")
    return names


def _cut_blob(wiring: Wiring, name: str) -> Stream:
    """The stream that a cut blob's name stands for."""
    stream = wiring.last(name)
    path = wiring.path
    if stream is None:
        layers = wiring.numbers_of(name)
        if layers:
            tops = ", ".join(top for n in layers for top in wiring.layers[n].top) or "none"
            raise ConfigError(
                f"{path}: --at {name}: that is a layer, and a blob is needed; its tops: {tops}"
            )
        names = list(dict.fromkeys(stream.name for stream in wiring.streams))
        raise ConfigError(
            f"{path}: --at {name}: no such blob{nearest(name, names)}; "
            f"its blobs: {', '.join(names)}"
        )
    if "TRAIN" not in stream.phases:
        raise ConfigError(
            f"{path}: --at {name}: made in phase TEST only; cut at a blob that training has"
        )
    for number in wiring.overwriters(stream):
        if stream in wiring.makes[number]:
            raise ConfigError(
                f"{path}: --at {name}: layer {wiring.label(number)} works on it in place in "
                "one phase only; give it a top of its own"
            )
    if not stream.readers:
        raise ConfigError(
            f"{path}: --at {name}: no layer reads it, so nothing would be left for net2; cut at "
            "a blob further down"
        )
    return stream


def _above(wiring: Wiring, asked: Sequence[Stream]) -> set[int]:
    """The layers that depend on the cut blobs."""
    above: set[int] = set()
    reached = set(asked)
    for number in wiring.numbers:
        if any(stream in reached for stream in wiring.reads[number]):
            above.add(number)
            reached.update(wiring.makes[number])
    return above


def _reached(wiring: Wiring, stream: Stream) -> set[Stream]:
    above = _above(wiring, [stream])
    return {made for number in above for made in wiring.makes[number]}


def _is_only_for(wiring: Wiring, number: int, above: set[int]) -> bool:
    """Whether a layer makes constants that the upper side alone reads."""
    readers = [reader for stream in wiring.makes[number] for reader, _ in stream.readers]
    return (
        wiring.layers[number].type in _CONSTANTS
        and bool(readers)
        and all(reader in above for reader in readers)
    )


def _crossing(wiring: Wiring, above: set[int]) -> list[Stream]:
    """What the lower side makes and the upper side reads."""
    crossing = []
    for stream in wiring.streams:
        readers = [number for number, _ in stream.readers if number in above]
        makers = [number for number, _ in stream.makers]
        if not readers:
            continue
        if any(maker in above for maker in makers):
            if not all(maker in above for maker in makers):
                raise ConfigError(
                    f"{wiring.path}: {stream.name} depends on the cut in one phase and not in the "
                    f"other; cut where both phases agree"
                )
            continue
        crossing.append(stream)
    return crossing


def _section(
    wiring: Wiring, above: set[int], asked: Sequence[Stream], names: Sequence[str]
) -> list[int]:
    """The dual section: checked to stand on the cut, to be whole, and to lead on to net2's loss."""
    path = wiring.path
    section: set[int] = set()
    for name in _once(names, "--dual", path):
        numbers = _numbers_of(wiring, name)
        if not numbers:
            names_there = [dual_name(wiring, number) for number in wiring.numbers]
            raise ConfigError(
                f"{path}: --dual {name}: no such layer{nearest(name, names_there)}; layers that "
                f"read the cut: {_readers_of(wiring, asked)}"
            )
        _check_dual_layer(wiring, above, asked, name, numbers)
        section.update(numbers)
    _add_nameless(wiring, above, section)
    # Constants that the section reads are made once, in net1, and sent: both nets need the same.
    above.difference_update(
        [
            number
            for number in above - section
            if not wiring.layers[number].bottom
            and any(reader in section for stream in wiring.makes[number]
                    for reader, _ in stream.readers)
        ]
    )  # fmt: skip
    lower = {stream for number in wiring.numbers if number not in above
             for stream in wiring.makes[number]}  # fmt: skip
    own = {stream for number in section for stream in wiring.makes[number]}
    for number in sorted(section):
        for stream in wiring.reads[number]:
            if stream not in lower and stream not in own:
                maker = dual_name(wiring, stream.makers[0][0])
                raise ConfigError(
                    f"{path}: --dual {dual_name(wiring, number)}: it reads {stream.name}, which "
                    f"layer {maker} of net2 makes; name {maker} in --dual too, or layers that "
                    f"read the cut: {_readers_of(wiring, asked)}"
                )
    return sorted(section)


def _numbers_of(wiring: Wiring, name: str) -> list[int]:
    """The layers that --dual means by a name: one, or one a phase.

    Raises:
        ConfigError: Several layers of a phase have that name.
    """
    numbers = wiring.numbers_of(name)
    if numbers and wiring.is_shared(name):
        tops = [dual_name(wiring, number) for number in numbers]
        raise ConfigError(
            f"{wiring.path}: --dual {name}: {len(numbers)} layers have that name; name the one by "
            f"its top instead: {', '.join(dict.fromkeys(tops))}"
        )
    return numbers or [n for n in wiring.numbers if dual_name(wiring, n) == name]


def dual_name(wiring: Wiring, number: int) -> str:
    """What --dual calls a layer: by its name or, where that is not its own, by its first top."""
    layer = wiring.layers[number]
    if wiring.has_own_name(number) or not layer.top:
        return str(layer.name)
    return str(layer.top[0])


def _add_nameless(wiring: Wiring, above: set[int], section: set[int]) -> None:
    """Take what stands between the section and the cut and has no name to ask for it by."""
    waiting = list(section)
    while waiting:
        for stream in wiring.reads[waiting.pop()]:
            for number, _ in stream.makers:
                if number in above and number not in section and not wiring.has_own_name(number):
                    section.add(number)
                    waiting.append(number)


def _check_dual_layer(
    wiring: Wiring, above: set[int], asked: Sequence[Stream], name: str, numbers: list[int]
) -> None:
    """What can be wrong with one layer of the dual section."""
    layer, start = wiring.layers[numbers[0]], f"{wiring.path}: --dual {name}: "
    if not layer.bottom:
        raise ConfigError(
            f"{start}it makes data and reads none; layers that read the cut: "
            f"{_readers_of(wiring, asked)}"
        )
    for stream in asked:
        if any(number in numbers for number, _ in stream.makers) and wiring.is_in_place(
            stream.makers[0]
        ):
            raise ConfigError(
                f"{start}it works in place on the cut blob {stream.name} and so belongs to net1; "
                f"layers that read the cut: {_readers_of(wiring, asked)}"
            )
    if not all(number in above for number in numbers):
        raise ConfigError(
            f"{start}it lies below the cut and belongs to net1; layers that read the cut: "
            f"{_readers_of(wiring, asked)}"
        )
    if not any(number in wiring.used["TRAIN"] for number in numbers):
        raise ConfigError(f"{start}it is in phase TEST only; a dual layer takes part in training")
    if has_loss(layer):
        raise ConfigError(
            f"{start}it adds to the loss, which would count in both nets; leave it to net2"
        )
    if not layer.top:
        raise ConfigError(f"{start}it has no top that could be compared; leave it to net2")


def _readers_of(wiring: Wiring, asked: Sequence[Stream]) -> str:
    names = [
        dual_name(wiring, number)
        for stream in asked
        for number, _ in stream.readers
        if number in wiring.used["TRAIN"] and not has_loss(wiring.layers[number])
    ]
    return ", ".join(dict.fromkeys(names)) or "none"


def _check_sharing(sides: Sides) -> None:
    """Parameters with one name are one parameter, which two processes cannot have."""
    groups = {"net1": sides.lower, "the dual section": sides.dual, "net2": sides.upper}
    owners: dict[str, tuple[str, str]] = {}
    wiring = sides.wiring
    for group, numbers in groups.items():
        for number in numbers:
            layer = wiring.layers[number]
            for name in (spec.name for spec in layer.param if spec.name):
                other, other_group = owners.setdefault(name, (wiring.label(number), group))
                if other_group != group:
                    raise ConfigError(
                        f"{wiring.path}: layers {other} ({other_group}) and {wiring.label(number)} "
                        f"({group}) share the parameter {name}, and two processes cannot train "
                        "one parameter; cut above or below both, or give them parameters of "
                        "their own"
                    )
