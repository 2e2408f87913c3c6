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
from dualnet.cut.deploy import Deploy, deploy_net
from dualnet.cut.graph import NetGraph, included_layers, read_net, read_solver, solver_states
from dualnet.cut.merge import merge_models
from dualnet.cut.prototxt import format_fields
from dualnet.errors import StorageFailed, UsageError
from dualnet.rundir import PieceDir, RunDir
from dualnet.training.checkpoint import caffe_files
from dualnet.training.outcome.joined import Part, check_deploy, check_merged, phase_alone, run_parts
from dualnet.training.outcome.whole import Joined, cuts_of, dual_source, join

__all__ = ["make", "merge"]


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
    duals = dual_source(dual, pieces)
    stem = output[: -len(".caffemodel")] if output.endswith(".caffemodel") else output
    targets = [output, f"{stem}_train_test.prototxt", f"{stem}_deploy.prototxt"]
    try:
        os.makedirs(os.path.dirname(output) or ".", exist_ok=True)
    except OSError as error:
        raise _unwritable(output, error) from error
    try:
        for path in targets:
            if os.path.lexists(path) and not force:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        origin = f"{os.path.normpath(run)}, iteration {number}, dual layers of {dual}"
        # Beside the targets: where these have no room, it shows before anything is replaced. Not on
        # BVLC Caffe, which ends the process over a net that it refuses.
        beside = None if provider == "bvlc" else os.path.dirname(output) or "."
        with tempfile.TemporaryDirectory(prefix=".merge-", dir=beside) as scratch:
            joined = join(config, pieces, number, duals)
            contents, _ = make(joined, config, pieces, origin, targets, scratch)
        write_together(dict(zip(targets, contents)), force)
    except FileExistsError as error:
        raise UsageError(
            f"{error.filename} exists already: give --force to replace it, or another -o FILE"
        ) from error
    except OSError as error:
        raise _unwritable(output, error) from error
    return targets


def _unwritable(output: str, error: OSError) -> StorageFailed:
    return StorageFailed(
        f"{output}: cannot write the merged net: {error.strerror}; choose another -o FILE"
    )


def make(
    joined: Joined,
    config: Config,
    pieces: Sequence[PieceDir],
    origin: str,
    targets: Sequence[str],
    scratch: str,
) -> tuple[list[bytes], Deploy]:
    """The contents of the three files, tried on a batch, and what the third one is for.

    Args:
        joined: What `join` made of the other arguments.
        origin: What the net was made of, for comments.
        targets: What the files are to be called, for messages; in the scratch folder they lie by
            the same names afterwards.
        scratch: A folder for temporary files.
    """
    net, graph, stored, merged = joined.net, joined.graph, joined.stored, joined.merged
    cuts, phase = cuts_of(config, pieces), joined.phase
    parts = []
    for place, piece in enumerate(pieces):
        own, own_state = read_net(piece.net), solver_states(read_solver(piece.solver)).get(phase)
        numbers = included_layers(own, phase, piece.net, own_state)
        copies = cuts[place - 1].dual if place and joined.duals == "lower" else {}
        below = joined.parameters[place - 1]
        parts.append(
            Part(
                NetGraph(own, phase, piece.net, own_state),
                joined.models[place],
                {i for i, layer in enumerate(numbers) if layer in merged.left_out[place]},
                {copy: below.get(name, ()) for name, copy in copies.items()},
                merged.names[place],
            )
        )
    wanted = {*_outputs(graph), *(head.blob for head in joined.heads)}
    batch = run_parts(parts, cuts, wanted, scratch)
    deploy = deploy_net(net.name, graph.layers, joined.heads, batch.shapes, stored)
    contents = [
        merge_models(net, stored, joined.states.get("TRAIN")).SerializeToString(),
        _text(net, f"Merged by dualnet merge from {origin}."),
        _text(deploy.net, f"Deploy net of {origin}."),
    ]
    names = [os.path.join(scratch, os.path.basename(path)) for path in targets]
    for name, content in zip(names, contents):
        _put(name, content)
    if phase == "TRAIN":
        _put(names[1], format_fields(phase_alone(net, graph)).encode())
    check_merged(names[1], names[0], graph, joined.states.get(phase), batch, targets[1])
    check_deploy(names[2], names[0], deploy, batch, targets[2])
    return contents, deploy


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
