"""The pieces of a net: their prototxt, solvers and YAML, made from what the cuts are."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from dualnet.atomic import write_together
from dualnet.config.chain import piece_names
from dualnet.config.named_file import find
from dualnet.cut.data_files import named_files, replace_files
from dualnet.cut.dataflow import DataflowGraph
from dualnet.cut.graph import read_solver, solver_states
from dualnet.cut.prototxt import Source
from dualnet.cut.shapes import build_phases
from dualnet.cut.split.chain import CutNames, Whole, check_order, divide
from dualnet.cut.split.configuration import write_yaml
from dualnet.cut.split.remarks import remarks_on
from dualnet.cut.split.single import single_net
from dualnet.cut.split.solvers import check_solver, write_solver
from dualnet.engine.formats.regular_file import regular_only
from dualnet.errors import ConfigError, StorageFailed, UsageError

__all__ = ["Request", "Split", "solver_beside", "split", "write"]

#: Name of the configuration among the files written.
YAML_NAME = "dual.yaml"


@dataclass(frozen=True)
class Request:
    """What to split, and how.

    Attributes:
        net: The single net's train_test prototxt.
        cuts: The cut blobs, and the layers that both pieces beside the cut are to have, of each
            cut, from the data to the loss.
        output: Directory for the files.
        solver: The single net's solver; default the one beside `net` that its name suggests.
        target, tie, loss: The coupling, as in the YAML.
        shapes: Blob of a data layer to the shape of one sample, for data that is not here.
    """

    net: str
    cuts: Sequence[CutNames]
    output: str
    solver: Optional[str] = None
    target: str = "gradient"
    tie: str = "start"
    loss: str = "prototxt"
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """The `dualnet split` command line that reproduces this request."""
        words = ["dualnet", "split", self.net]
        for at, dual in self.cuts:
            words += ["--at", *at, "--dual", *dual]
        words += ["-o", self.output]
        if self.solver:
            words += ["--solver", self.solver]
        for option, value, default in (
            ("--loss", self.loss, "prototxt"),
            ("--target", self.target, "gradient"),
            ("--tie", self.tie, "start"),
        ):
            words += [option, value] if value != default else []
        for blob, shape in self.shapes.items():
            words += ["--shape", f"{blob}={','.join(map(str, shape))}"]
        return " ".join(map(shlex.quote, words))


@dataclass(frozen=True)
class Split:
    """The files of all pieces.

    Attributes:
        contents: Path to text.
        remarks: What the user should know, a line each.
        yaml: The path of the configuration.
    """

    contents: dict[str, str]
    remarks: list[str]
    yaml: str


def split(request: Request) -> Split:
    """Split a net. Nothing is written; see `write`.

    Raises:
        ConfigError: A file cannot be read, or the net cannot be cut so.
    """
    solver_path = request.solver or solver_beside(request.net)
    solver = read_solver(solver_path)
    remarks = check_solver(solver, solver_path, request.target)
    single = single_net(request.net, solver, solver_path)
    remarks += single.remarks
    dataflow = _connect(single.net, request.net, solver, remarks)
    _check_shapes(request, dataflow)
    check_order(dataflow, request.cuts)
    built = build_phases(dataflow, dataflow.used, request.shapes)
    source = single.source(_text(request.net), request.net)
    title = _title(single.net.name)
    divisions = divide(
        Whole(dataflow, built, source), request.cuts, title, solver_states(solver), request.command
    )
    pieces = piece_names(len(divisions) + 1)
    nets = {name: os.path.join(request.output, f"{name}_train_test.prototxt") for name in pieces}
    texts = [*(division.lower for division in divisions), divisions[-1].upper]
    moved = _moved_files(single.net, request)
    contents = {path: replace_files(text, moved) for path, text in zip(nets.values(), texts)}
    solver_text, solver_lost = _text(solver_path), 0
    solvers = {"single": single.solver} if single.solver else {}
    for name in ("single", *pieces):
        if name not in solvers:
            solvers[name] = os.path.join(request.output, f"{name}_solver.prototxt")
            net = _beside(nets.get(name, request.net), request.output)
            written = write_solver(solver_text, solver, name, net)
            contents[solvers[name]] = written.text
            solver_lost = written.lost
    coupling = {"target": request.target, "tie": request.tie}
    if request.loss != "prototxt":
        coupling["loss"] = request.loss
    yaml_path = os.path.join(request.output, YAML_NAME)
    passing = [division.exchanged for division in divisions]
    named = {name: _beside(path, request.output) for name, path in solvers.items()}
    contents[yaml_path] = write_yaml(title, named, passing, coupling, request.command)
    for division in divisions:
        remarks += remarks_on(division.partition, division.flow, division.exchanged.number)
    lost = sum(division.lost for division in divisions)
    remarks += _lost_comments(request.net, source, lost, solver_path, solver_lost)
    return Split(contents, remarks, yaml_path)


def _beside(path: str, folder: str) -> str:
    """A path as a file in `folder` names it, so that the folder can be moved with what it needs."""
    return os.path.relpath(path, folder)


def _moved_files(net: Any, request: Request) -> dict[str, str]:
    """The files that the net names and the pieces have to name otherwise, from where they are."""
    beside = os.path.join(request.output, YAML_NAME)
    moved = {}
    for layer in net.layer:
        for path in named_files(layer):
            found = find(path, request.net)
            if os.path.exists(found) and not _same(found, find(path, beside)):
                moved[path] = _beside(found, request.output) + "/" * path.endswith("/")
    return moved


def _title(name: str) -> str:
    """The single net's name, without saying that it is one."""
    return (name[: -len("_single")] if name.endswith("_single") else name) or "net"


def write(request: Request, result: Split, force: bool = False) -> None:
    """Write all files or none.

    Raises:
        UsageError: A file is there already and `force` is not given, or is one that was read.
        StorageFailed: The directory cannot be written.
    """
    for path in result.contents:
        for read in (request.net, request.solver or solver_beside(request.net)):
            if _same(path, read):
                raise UsageError(
                    f"{path}: would replace what is being split; choose another -o DIR"
                )
    is_new = not os.path.isdir(request.output)
    try:
        os.makedirs(request.output, exist_ok=True)
        write_together({path: text.encode() for path, text in result.contents.items()}, force=force)
    except OSError as error:
        if is_new and os.path.isdir(request.output) and not os.listdir(request.output):
            os.rmdir(request.output)
        if isinstance(error, FileExistsError) and os.path.isdir(request.output):
            raise UsageError(
                f"{error.filename}: is there already; choose another -o DIR, or add --force"
            ) from error
        raise StorageFailed(f"{request.output}: cannot write the nets: {error.strerror}") from error


def solver_beside(net: str) -> str:
    """`X_solver.prototxt` for `X_train_test.prototxt`, `solver.prototxt` for `train_val.prototxt`.

    Raises:
        ConfigError: There is none.
    """
    folder, name = os.path.split(net)
    for suffix in ("train_test.prototxt", "train_val.prototxt"):
        if name.endswith(suffix):
            path = os.path.join(folder, name[: -len(suffix)] + "solver.prototxt")
            if os.path.isfile(path):
                return path
    raise ConfigError(f"{net}: no solver of a matching name beside it; name one with --solver")


def _connect(net: Any, path: str, solver: Any, remarks: list[str]) -> DataflowGraph:
    """The net in both phases, or in TRAIN alone where it has no other and is not tested."""
    states = solver_states(solver)
    training = DataflowGraph(net, path, ("TRAIN",), states)
    try:
        return DataflowGraph(net, path, states=states)
    except ConfigError as error:
        if solver.test_iter:
            raise
        remarks.append(f"no phase TEST, as the solver has no test_iter ({error})")
        return training


def _check_shapes(request: Request, dataflow: DataflowGraph) -> None:
    """Every --shape must be that of a data layer's top."""
    tops = [
        version.name for number in dataflow.numbers if not dataflow.layers[number].bottom
        for version in dataflow.makes[number]
    ]  # fmt: skip
    for blob in request.shapes:
        if blob not in tops:
            raise UsageError(
                f"{request.net}: --shape {blob}: no data layer makes it; those that do make "
                f"{', '.join(dict.fromkeys(tops))}"
            )


def _lost_comments(net: str, source: Source, lost: int, solver: str, solver_lost: int) -> list[str]:
    """Which comments are not in the new files."""
    if source.is_opaque:
        lost = source.comment_lines
    else:
        lost += source.head_lines + source.tail_lines
    return [
        f"{path}: {count} line{'s' if count > 1 else ''} of comment {where}not kept"
        for path, count, where in (
            (net, lost, "about the file " if lost == source.head_lines else ""),
            (solver, solver_lost, ""),
        )
        if count
    ]


def _same(one: str, two: str) -> bool:
    return bool(one and two) and os.path.realpath(one) == os.path.realpath(two)


def _text(path: str) -> str:
    with open(path, encoding="utf-8", opener=regular_only) as file:
        return file.read()
