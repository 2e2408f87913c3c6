"""What has to be compared so that net1 gets the whole gradient.

The single net's gradient reaches the lower side along every path from the loss through the cut.
net1 repeats the dual section, so a loss on the section's outputs covers the paths through it. Paths
that pass the section by (the shortcut of a residual block, the other branches of an Inception
module, a second reader of a dual layer's output) end in streams that net1 has too: each gets a loss
of its own. In net2 such a stream is led through a Split layer, whose top collects the gradient of
exactly those readers.

Each loss 1/(2 gamma N) |b - (bp - gamma N dL/dbp)|^2 has the gradient dL/dbp where b = bp, and the
gradients of all paths add up in net1 as they do in the single net.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Callable

from dualnet.cut.split.gradients import WITHOUT_GRADIENT, carries, passes
from dualnet.cut.split.sides import Sides, dual_name, has_loss
from dualnet.cut.wiring import Stream
from dualnet.errors import ConfigError

__all__ = ["Compared", "Flow", "find_flow"]


@dataclass(frozen=True)
class Compared:
    """A stream that net1's loss compares with its like in net2.

    Attributes:
        stream: The stream, as the single net has it.
        is_led_around: Readers beside the dual section have to be told apart by a Split layer.
    """

    stream: Stream
    is_led_around: bool


@dataclass(frozen=True)
class Flow:
    """What the streams that cross are for.

    Attributes:
        blobs: Streams that cross and depend on what net1 learns.
        labels: Streams that cross without a gradient: labels, masks of positions, references. One
            phase may have none of them.
        compared: What net1's losses compare, in the order in which it is made.
        needs_force: Whether a compared stream of net2 has nothing that learns below it, so that
            Caffe would leave out its gradient (input_gradient.py).
    """

    blobs: list[Stream]
    labels: list[Stream]
    compared: list[Compared]
    needs_force: bool


def find_flow(sides: Sides, learning: set[int]) -> Flow:
    """Follow the gradient from net2's loss down to the cut.

    Args:
        sides: The cut.
        learning: Numbers of the layers whose parameters training changes.

    Raises:
        ConfigError: The gradient does not reach the cut blobs, or nothing below them learns.
    """
    wiring, path = sides.wiring, sides.wiring.path
    from_lower = _learnt(sides, learning.__contains__)
    blobs = [stream for stream in sides.crossing if stream in from_lower]
    for stream in sides.crossing:
        if stream not in from_lower and stream not in sides.found:
            raise ConfigError(
                f"{path}: --at {stream.name}: nothing below it learns, so net1 would have nothing "
                "to train; cut above a layer with weights"
            )
    for stream in blobs:
        missing = [phase for phase in wiring.used if phase not in stream.phases]
        if missing:
            raise ConfigError(
                f"{path}: {stream.name} crosses the cut in phase {min(stream.phases)} and no "
                f"layer makes it in phase {missing[0]}; cut elsewhere, or make it in both"
            )
    labels = [stream for stream in sides.crossing if stream not in from_lower]
    dual, upper = set(sides.dual), set(sides.upper)
    to_loss = _to_loss(sides, upper)
    to_loss_or_dual = _to_loss(sides, upper | dual)
    own = [stream for number in sides.dual for stream in wiring.makes[number]]
    compared = []
    for stream in dict.fromkeys([*blobs, *own]):
        if stream in from_lower and stream in to_loss:
            in_section = any(number in dual for number, _ in stream.readers)
            compared.append(Compared(stream, stream in sides.crossing or in_section))
    if not any(pair.stream in own for pair in compared):
        names = ", ".join(dual_name(wiring, number) for number in sides.dual)
        raise ConfigError(
            f"{path}: --dual {names}: no loss in phase TRAIN depends on its output, so there is "
            "nothing to compare; name a layer between the cut and the loss"
        )
    for stream in blobs:
        if stream not in sides.found and stream not in to_loss_or_dual:
            raise ConfigError(
                f"{path}: --at {stream.name}: the loss has no gradient with respect to it; cut "
                "where the loss depends on the blob"
            )
    with_dual = _learnt(sides, lambda number: number in learning and number in dual)
    needs_force = any(pair.stream not in with_dual for pair in compared)
    return Flow(blobs, labels, compared, needs_force)


def _learnt(sides: Sides, learns: Callable[[int], bool]) -> set[Stream]:
    """Streams of training that have a gradient because layers that learn lie below them."""
    wiring = sides.wiring
    learnt: set[Stream] = set()
    for number in wiring.used["TRAIN"]:
        layer = wiring.layers[number]
        below = any(
            stream in learnt and passes(layer, slot)
            for slot, stream in enumerate(wiring.reads[number])
        )
        if below or learns(number):
            made = enumerate(wiring.makes[number])
            learnt.update(stream for slot, stream in made if carries(layer, slot))
    return learnt


def _to_loss(sides: Sides, through: Iterable[int]) -> set[Stream]:
    """Streams with a path of gradient to a loss through the given layers alone."""
    wiring, through = sides.wiring, set(through)
    found: set[Stream] = set()
    for number in reversed(wiring.used["TRAIN"]):
        layer = wiring.layers[number]
        if number not in through or layer.type in WITHOUT_GRADIENT:
            continue
        made = enumerate(wiring.makes[number])
        if has_loss(layer) or any(stream in found for slot, stream in made if carries(layer, slot)):
            found.update(
                stream for slot, stream in enumerate(wiring.reads[number]) if passes(layer, slot)
            )
    return found
