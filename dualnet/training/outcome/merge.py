"""A run of a chain as one model: what `dualnet merge` writes."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Sequence
from typing import Any, Optional

from dualnet.atomic import write_together
from dualnet.backend import provider
from dualnet.config import Config
from dualnet.cut.deploy import deploy_net
from dualnet.cut.graph import NetGraph, included_layers, read_net, read_solver, solver_states
from dualnet.cut.heads import find_heads
from dualnet.cut.merge import (
    DUAL_SOURCES,
    merge_models,
    merge_nets,
    merge_parameters,
    read_parameters,
)
from dualnet.cut.prototxt import format_fields
from dualnet.errors import StorageFailed, UsageError
from dualnet.rundir import PieceDir, RunDir
from dualnet.training.checkpoint import caffe_files
from dualnet.training.outcome.joined import Part, check_deploy, check_merged, phase_alone, run_parts

__all__ = ["merge"]


def merge(
    run: RunDir,
    config: Config,
    output: str,
    dual: str = "upper",
    iteration: Optional[int] = None,
    force: bool = False,
) -> list[str]:
    """Write the caffemodel, train_test and deploy prototxt of the single net that a run trained.

    Both nets are loaded and tried first, on a batch of the data set: their outputs must be those
    of the pieces.

    Args:
        run: The run.
        config: Its config.
        output: The caffemodel; the prototxt get its name without the extension, and
            `_train_test.prototxt` and `_deploy.prototxt`.
        dual: Whose dual layers it has: of the `upper` piece beside each cut, which were trained on
            the loss and are those that `evaluate` uses, or of the `lower` one, which followed them.
            In a chain of two they may be called `net2` and `net1`.
        iteration: A snapshot's iteration; default the latest.
        force: Replace files that are there.

    Returns:
        The paths of the three.

    Raises:
        UsageError: The run has one net only, or no such snapshot, or a file is there already.
        ConfigError: The pieces do not fit together, the data set is not there, or a merged net
            gives other outputs than the pieces; nothing is written then.
        StorageFailed: The files cannot be written.
    """
    if len(run.pieces()) == 1:
        raise UsageError(
            f"{run}: a run of the single net, whose caffemodels are of the whole net already"
        )
    number, pieces = caffe_files.find(run, iteration)
    names = {name: name for name in DUAL_SOURCES}
    if len(pieces) == 2:
        names.update(zip((piece.name for piece in pieces), DUAL_SOURCES))
    if dual not in names:
        raise UsageError(f"--dual {dual}: valid values are {', '.join(names)}")
    stem = output[: -len(".caffemodel")] if output.endswith(".caffemodel") else output
    targets = [output, f"{stem}_train_test.prototxt", f"{stem}_deploy.prototxt"]
    try:
        for path in targets:
            if os.path.lexists(path) and not force:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        os.makedirs(os.path.dirname(output) or ".", exist_ok=True)
        origin = f"{os.path.normpath(run)}, iteration {number}, dual layers of {dual}"
        # Beside the targets: where these have no room, it shows before anything is replaced. Not on
        # BVLC Caffe, which ends the process over a net that it refuses.
        beside = None if provider == "bvlc" else os.path.dirname(output) or "."
        with tempfile.TemporaryDirectory(prefix=".merge-", dir=beside) as scratch:
            contents = _make(config, pieces, number, names[dual], origin, targets, scratch)
        write_together(dict(zip(targets, contents)), force)
    except FileExistsError as error:
        raise UsageError(
            f"{error.filename} exists already: give --force to replace it, or another -o FILE"
        ) from error
    except OSError as error:
        raise StorageFailed(
            f"{output}: cannot write the merged net: {error.strerror}; choose another -o FILE"
        ) from error
    return targets


def _make(
    config: Config,
    pieces: Sequence[PieceDir],
    number: int,
    dual: str,
    origin: str,
    targets: list[str],
    scratch: str,
) -> list[bytes]:
    """The contents of the three files, tried on a batch.

    Args:
        pieces: From the data to the loss.
        number: The iteration of their snapshots.
        scratch: A folder for temporary files.
    """
    solver_state = [solver_states(read_solver(piece.solver)) for piece in pieces]
    models = [piece.at(number).weights for piece in pieces]
    parameters = [read_parameters(path) for path in models]
    stored = merge_parameters(parameters, [cut.dual for cut in config.cuts], dual)
    merged = merge_nets([piece.net for piece in pieces], config.cuts, config.name, stored)
    net, state = merged.net, solver_state[-1]
    training = NetGraph(net, "TRAIN", "merged net", state.get("TRAIN"))
    test = NetGraph(net, "TEST", "merged net", state.get("TEST"))
    # A net that is never tested may have no data in phase TEST.
    graph, phase = (test, "TEST") if _is_whole(test) else (training, "TRAIN")
    counts = {name: len(blobs) for name, blobs in stored.items()}
    heads = find_heads(graph.layers, training.layers, counts)
    parts = []
    for place, piece in enumerate(pieces):
        own, own_state = read_net(piece.net), solver_state[place].get(phase)
        numbers = included_layers(own, phase, piece.net, own_state)
        copies = config.cuts[place - 1].dual if place and dual == "lower" else {}
        parts.append(
            Part(
                NetGraph(own, phase, piece.net, own_state),
                models[place],
                {i for i, layer in enumerate(numbers) if layer in merged.left_out[place]},
                {copy: parameters[place - 1].get(name, ()) for name, copy in copies.items()},
                merged.names[place],
            )
        )
    wanted = {*_outputs(graph), *(head.blob for head in heads)}
    batch = run_parts(parts, config.cuts, wanted, scratch)
    deploy = deploy_net(net.name, graph.layers, heads, batch.shapes, stored)
    contents = [
        merge_models(net, stored, state.get("TRAIN")).SerializeToString(),
        _text(net, f"Merged by dualnet merge from {origin}."),
        _text(deploy.net, f"Deploy net of {origin}."),
    ]
    names = [os.path.join(scratch, os.path.basename(path)) for path in targets]
    for name, content in zip(names, contents):
        _put(name, content)
    if graph is training:
        _put(names[1], format_fields(phase_alone(net, graph)).encode())
    check_merged(names[1], names[0], graph, state.get(phase), batch, targets[1])
    check_deploy(names[2], names[0], deploy, batch, targets[2])
    return contents


def _is_whole(graph: NetGraph) -> bool:
    """Whether every blob that a layer reads is made in this phase."""
    made: set[str] = set()
    for layer in graph.layers:
        if not made.issuperset(layer.bottom):
            return False
        made.update(layer.top)
    return any(layer.bottom for layer in graph.layers)


def _outputs(graph: NetGraph) -> list[str]:
    """What layers make and none reads."""
    read = {blob for layer in graph.layers for blob in layer.bottom}
    tops = [top for layer in graph.layers if layer.bottom for top in layer.top]
    return [top for top in tops if top not in read]


def _put(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def _text(net: Any, comment: str) -> bytes:
    return f"# {comment}\n{format_fields(net)}".encode()
