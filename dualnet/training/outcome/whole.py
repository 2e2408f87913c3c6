"""A run's pieces as one net, before anybody has tried it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dualnet.config import Config, Cut
from dualnet.cut.graph import NetGraph, read_solver, solver_states
from dualnet.cut.heads import Head, find_heads
from dualnet.cut.merge import (
    DUAL_SOURCES,
    Merged,
    Parameters,
    merge_nets,
    merge_parameters,
    read_parameters,
)
from dualnet.errors import UsageError
from dualnet.rundir import PieceDir

__all__ = ["Joined", "cuts_of", "dual_source", "join"]


@dataclass(frozen=True)
class Joined:
    """The single net of a run's pieces, before it was tried.

    Attributes:
        net: The NetParameter, of both phases.
        phase: In which it predicts: TEST, if it is whole there.
        graph: Its layers in that phase.
        states: Phase to the NetState that the last piece's solver adds.
        stored: Its parameters by layer.
        heads: What it predicts.
        merged: How it came out of the pieces' nets.
        models: The caffemodel of each piece.
        parameters: What each holds.
        duals: Whose dual layers it has.
    """

    net: Any
    phase: str
    graph: NetGraph
    states: dict[str, Any]
    stored: Parameters
    heads: list[Head]
    merged: Merged
    models: list[str]
    parameters: list[Parameters]
    duals: str


def join(config: Config, pieces: Sequence[PieceDir], number: int, duals: str) -> Joined:
    """Make one net of a run's pieces.

    Args:
        config: The run's.
        pieces: From the data to the loss, or the single net alone.
        number: The iteration of their snapshots.
        duals: Whose dual layers, one of `DUAL_SOURCES`.

    Raises:
        ConfigError: The pieces do not fit together.
    """
    cuts = cuts_of(config, pieces)
    models = [piece.at(number).weights for piece in pieces]
    parameters = [read_parameters(path) for path in models]
    stored = merge_parameters(parameters, [cut.dual for cut in cuts], duals)
    merged = merge_nets([piece.net for piece in pieces], cuts, config.name, stored)
    states = solver_states(read_solver(pieces[-1].solver))
    training = NetGraph(merged.net, "TRAIN", "merged net", states.get("TRAIN"))
    test = NetGraph(merged.net, "TEST", "merged net", states.get("TEST"))
    # A net that is never tested may have no data in phase TEST.
    graph = test if _is_whole(test) else training
    counts = {name: len(blobs) for name, blobs in stored.items()}
    heads = find_heads(graph.layers, training.layers, counts)
    return Joined(
        merged.net, graph.phase, graph, states, stored, heads, merged, models, parameters, duals
    )


def dual_source(dual: str, pieces: Sequence[PieceDir]) -> str:
    """One of `DUAL_SOURCES`, for what a user calls it.

    Raises:
        UsageError: It is none.
    """
    names = {name: name for name in DUAL_SOURCES}
    if len(pieces) == 2:
        names.update(zip((piece.name for piece in pieces), DUAL_SOURCES))
    if dual not in names:
        raise UsageError(f"--dual {dual}: valid values are {', '.join(names)}")
    return names[dual]


def cuts_of(config: Config, pieces: Sequence[PieceDir]) -> Sequence[Cut]:
    """Where a run's net was cut: nowhere, where it is the single net."""
    return config.cuts if len(pieces) > 1 else ()


def _is_whole(graph: NetGraph) -> bool:
    """Whether every blob that a layer reads is made in this phase."""
    made: set[str] = set()
    for layer in graph.layers:
        if not made.issuperset(layer.bottom):
            return False
        made.update(layer.top)
    return any(layer.bottom for layer in graph.layers)
