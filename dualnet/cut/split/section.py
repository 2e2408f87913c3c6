"""The dual section of a cut: the layers that both pieces beside it are to have.

It is checked to stand on the cut, to be whole, and to hold nothing that may not be there twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dualnet.cut.dataflow import BlobVersion, DataflowGraph, nearest
from dualnet.errors import ConfigError

__all__ = ["dual_name", "find_section", "has_loss", "named_once", "numbers_of"]


def has_loss(layer: Any) -> bool:
    """Whether a layer adds to the loss: as its weights say, else all whose type ends in Loss."""
    if layer.loss_weight:
        return any(layer.loss_weight)
    return str(layer.type).endswith("Loss")


def named_once(names: Sequence[str], option: str, path: str) -> Sequence[str]:
    """The names themselves. Raises ConfigError if one of them stands twice after an option."""
    for i, name in enumerate(names):
        if name in names[:i]:
            raise ConfigError(f"{path}: {option} names {name} twice; name it once")
    return names


def find_section(
    dataflow: DataflowGraph,
    downstream: set[int],
    asked: Sequence[BlobVersion],
    names: Sequence[str],
) -> list[int]:
    """The dual section's layers by number, in order, as `find_partition` takes their names.

    Args:
        dataflow: The net.
        downstream: The layers that depend on the cut blobs; constants that the section reads are
            removed from it.
        asked: The cut blobs.
        names: What --dual names.
    """
    path = dataflow.path
    section: set[int] = set()
    for name in named_once(names, "--dual", path):
        numbers = numbers_of(dataflow, name)
        if not numbers:
            names_there = [dual_name(dataflow, number) for number in dataflow.numbers]
            raise ConfigError(
                f"{path}: --dual {name}: no such layer{nearest(name, names_there)}; layers that "
                f"read the cut: {_readers_of(dataflow, asked)}"
            )
        _check_dual_layer(dataflow, downstream, asked, name, numbers)
        section.update(numbers)
    _add_nameless(dataflow, downstream, section)
    # Constants that the section reads are made once, in the lower piece, and sent: both nets need
    # the same.
    downstream.difference_update(
        [
            number
            for number in downstream - section
            if not dataflow.layers[number].bottom
            and any(reader in section for version in dataflow.makes[number]
                    for reader, _ in version.readers)
        ]
    )  # fmt: skip
    lower = {version for number in dataflow.numbers if number not in downstream
             for version in dataflow.makes[number]}  # fmt: skip
    own = {version for number in section for version in dataflow.makes[number]}
    for number in sorted(section):
        for version in dataflow.reads[number]:
            if version not in lower and version not in own:
                maker = dual_name(dataflow, version.makers[0][0])
                raise ConfigError(
                    f"{path}: --dual {dual_name(dataflow, number)}: it reads {version.name}, which "
                    f"layer {maker} after the cut makes; name {maker} in --dual too, or layers "
                    f"that read the cut: {_readers_of(dataflow, asked)}"
                )
    return sorted(section)


def numbers_of(dataflow: DataflowGraph, name: str) -> list[int]:
    """The layers that --dual means by a name: one, or one a phase.

    Raises:
        ConfigError: Several layers of a phase have that name.
    """
    numbers = dataflow.numbers_of(name)
    if numbers and dataflow.is_shared(name):
        tops = [dual_name(dataflow, number) for number in numbers]
        raise ConfigError(
            f"{dataflow.path}: --dual {name}: {len(numbers)} layers have that name; name the one "
            f"by its top instead: {', '.join(dict.fromkeys(tops))}"
        )
    return numbers or [n for n in dataflow.numbers if dual_name(dataflow, n) == name]


def dual_name(dataflow: DataflowGraph, number: int) -> str:
    """What --dual calls a layer: by its name or, where that is not its own, by its first top."""
    layer = dataflow.layers[number]
    if dataflow.has_own_name(number) or not layer.top:
        return str(layer.name)
    return str(layer.top[0])


def _add_nameless(dataflow: DataflowGraph, downstream: set[int], section: set[int]) -> None:
    """Take what stands between the section and the cut and has no name to ask for it by."""
    waiting = list(section)
    while waiting:
        for version in dataflow.reads[waiting.pop()]:
            for number, _ in version.makers:
                is_new = number in downstream and number not in section
                if is_new and not dataflow.has_own_name(number):
                    section.add(number)
                    waiting.append(number)


def _check_dual_layer(
    dataflow: DataflowGraph,
    downstream: set[int],
    asked: Sequence[BlobVersion],
    name: str,
    numbers: list[int],
) -> None:
    """What can be wrong with one layer of the dual section."""
    layer, start = dataflow.layers[numbers[0]], f"{dataflow.path}: --dual {name}: "
    if not layer.bottom:
        raise ConfigError(
            f"{start}it makes data and reads none; layers that read the cut: "
            f"{_readers_of(dataflow, asked)}"
        )
    for version in asked:
        if any(number in numbers for number, _ in version.makers) and dataflow.is_in_place(
            version.makers[0]
        ):
            raise ConfigError(
                f"{start}it works in place on the cut blob {version.name} and so comes before the "
                f"cut; layers that read the cut: {_readers_of(dataflow, asked)}"
            )
    if not all(number in downstream for number in numbers):
        raise ConfigError(
            f"{start}it comes before the cut; layers that read the cut: "
            f"{_readers_of(dataflow, asked)}"
        )
    if not any(number in dataflow.used["TRAIN"] for number in numbers):
        raise ConfigError(f"{start}it is in phase TEST only; a dual layer takes part in training")
    if has_loss(layer):
        raise ConfigError(
            f"{start}it adds to the loss, which would count in both nets; leave it out of --dual"
        )
    if not layer.top:
        raise ConfigError(f"{start}it has no top that could be compared; leave it out of --dual")


def _readers_of(dataflow: DataflowGraph, asked: Sequence[BlobVersion]) -> str:
    names = [
        dual_name(dataflow, number)
        for version in asked
        for number, _ in version.readers
        if number in dataflow.used["TRAIN"] and not has_loss(dataflow.layers[number])
    ]
    return ", ".join(dict.fromkeys(names)) or "none"
