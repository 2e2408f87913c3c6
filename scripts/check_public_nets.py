#!/usr/bin/env python3
"""Try the engine on every prototxt below some folders: what it reads, builds, and refuses, and why.

    scripts/check_public_nets.py FOLDER... [-o FILE.md] [--list FILE.jsonl] [--run] [--only TEXT]

A repository is a folder right below one of FOLDER; a file of which there was a copy before counts
once. Each net is read and built in both phases. Data layers become Input layers (their files are
not at hand), fillers are left out. So do Python layers whose module is not at hand, where the names
of their tops say what they hold (TOPS); the others are counted as in need of other files. --run
also runs those forward in phase TEST whose inputs all have a shape, with a batch of 1. Nothing is
written but FILE.md, the counts, and FILE.jsonl, one line a prototxt.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import importlib.util
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from google.protobuf.message import Message

from dualnet.engine.errors import CaffeError, GraphError, ShapeError
from dualnet.engine.formats import prototxt
from dualnet.engine.net import graph
from dualnet.engine.net.net import Net
from dualnet.engine.proto import caffe_pb2

SUFFIXES = {".prototxt", ".pt"}
#: Data layers, and the message that holds their batch size.
DATA = {
    "Data": "data_param",
    "ImageData": "image_data_param",
    "WindowData": "window_data_param",
    "DenseImageData": "dense_image_data_param",
}
#: Where neither crop_size nor new_height says it: channels, height and width of an image.
IMAGE = (3, 224, 224)
#: The same for DenseImageData: SegNet's street scenes.
SCENE = (3, 360, 480)
#: Tops of public Python layers, and their shapes for one image of that size, 2 regions, 9 anchors a
#: pixel of a map of stride 16, K classes.
TOPS = {
    "bbox_inside_weights": (2, "4K"),
    "bbox_loss_weights": (2, "4K"),
    "bbox_outside_weights": (2, "4K"),
    "bbox_targets": (2, "4K"),
    "data": (1, 3, 224, 224),
    "gt_boxes": (1, 5),
    "im_info": (1, 3),
    "label": (1, 1, 224, 224),
    "labels": (2,),
    "rois": (2, 5),
    "rpn_bbox_inside_weights": (1, 36, 14, 14),
    "rpn_bbox_outside_weights": (1, 36, 14, 14),
    "rpn_bbox_targets": (1, 36, 14, 14),
    "rpn_labels": (1, 1, 126, 14),
    "rpn_rois": (2, 5),
    "scores": (2, 1),
}


@dataclass
class Verdict:
    """What became of one prototxt.

    Attributes:
        path: below its folder.
        repository: the folder's first part.
        kind: net, solver, or other (a list of labels, say).
        result: runs, builds, read (a solver), elsewhere (needs a module or data that is not here),
            other, or refused.
        reason: why it is elsewhere or refused, in the engine's words.
    """

    path: str
    repository: str
    kind: str
    result: str
    reason: str = ""


def main() -> int:
    """Tries all files, prints a line for each that is refused, and the counts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("-o", "--output", type=Path, help="where to write the counts")
    parser.add_argument("--list", type=Path, help="where to write a line a file")
    parser.add_argument("--run", action="store_true", help="run forward what can be run")
    parser.add_argument("--jobs", type=int, default=1, help="how many files at a time")
    parser.add_argument("--only", default="", help="only files whose path contains this")
    options = parser.parse_args()
    found = []
    files = [pair for pair in _files(options.folders) if options.only in str(pair[1])]
    with ProcessPoolExecutor(max_workers=options.jobs) as pool:
        tried = [pool.submit(check, path, root, options.run) for root, path in files]
        for verdict in (one.result() for one in tried):
            found.append(verdict)
            if verdict.result == "refused":
                print(f"{verdict.path}: {verdict.reason}", flush=True)
    if not found:
        parser.error(f"no prototxt below {', '.join(map(str, options.folders))}")
    table = "\n".join(tables(found))
    print(table)
    if options.output:
        options.output.write_text(table + "\n", encoding="utf-8")
    if options.list:
        lines = (json.dumps(asdict(verdict)) for verdict in found)
        options.list.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


def _files(folders: Iterable[Path]) -> Iterator[tuple[Path, Path]]:
    seen: set[bytes] = set()
    for root in folders:
        for path in sorted(root.rglob("*")):
            if path.suffix in SUFFIXES and path.is_file():
                digest = hashlib.sha256(path.read_bytes()).digest()
                if digest not in seen:
                    seen.add(digest)
                    yield root, path


def check(path: Path, root: Path, run: bool) -> Verdict:
    """Reads one prototxt, and builds and perhaps runs the net in it.

    Args:
        path: the file.
        root: the folder that it was found below.
        run: whether to run the net forward.
    """
    below = path.relative_to(root)
    repository = below.parts[0] if len(below.parts) > 1 else "."
    text = path.read_bytes().decode("utf-8", "replace")
    kind = kind_of(text)
    verdict = Verdict(str(below), repository, kind, "refused")
    try:
        if kind == "solver":
            prototxt.read_solver(path)
            verdict.result = "read"
        elif kind == "net":
            verdict.result = _build(path, "phase" in text, run)
        else:
            verdict.result = "other"
    except CaffeError as error:
        verdict.reason = " ".join(str(error).replace(str(path), path.name).split())
        if _needs_elsewhere(verdict.reason):
            verdict.result = "elsewhere"
    return verdict


def kind_of(text: str) -> str:
    """Net, solver or other, by the fields at the top."""
    bare = re.sub(r"#[^\n]*", "", text)
    if re.search(r"\b(base_lr|lr_policy|train_net|solver_mode|max_iter)\s*:", bare):
        return "solver"  # which may hold a whole net
    return "net" if re.search(r"^\s*layers?\s*:?\s*\{", bare, re.MULTILINE) else "other"


def _build(path: Path, has_phases: bool, run: bool) -> str:
    """Builds a net in one phase or both; `builds`, or `runs` where it was run too."""
    phases = (caffe_pb2.TEST, caffe_pb2.TRAIN) if has_phases else (caffe_pb2.TEST,)
    results = []
    for phase in phases:
        try:
            results.append(_build_phase(path, phase, run))
        except GraphError as error:
            # Some nets have data for one phase alone; Caffe refuses the other as well.
            if "produce none" not in str(error) or phase == phases[-1] and not results:
                raise
        gc.collect()
    return results[0]


def _build_phase(path: Path, phase: int, run: bool) -> str:
    message = prototxt.read_net(path)
    message.state.phase = phase
    message = graph.filter_layers(message)
    fed = [_feed(layer) or _stand_in(layer) for layer in message.layer]
    _drop_fillers(message)
    for layer in message.layer:
        if layer.type == "Input" and run:
            for shape in layer.input_param.shape:
                if shape.dim:
                    shape.dim[0] = min(shape.dim[0], 1)
    try:
        net = Net.from_message(message)
    except ShapeError as error:
        if any(fed):
            raise ShapeError(f"the stand-in for data has another shape: {error}") from error
        raise
    if run and phase == caffe_pb2.TEST and not any(fed) and net.inputs:
        net.forward()
        return "runs"
    return "builds"


def _feed(layer: caffe_pb2.LayerParameter) -> bool:
    """Makes a data layer of images an Input layer; says whether it was one."""
    if layer.type not in DATA or layer.bottom:
        return False
    param = getattr(layer, DATA[layer.type])
    size = layer.transform_param.crop_size or getattr(param, "crop_size", 0)
    is_dense = layer.type == "DenseImageData"
    usual = SCENE if is_dense else IMAGE
    height = size or getattr(param, "new_height", 0) or usual[1]
    width = size or getattr(param, "new_width", 0) or usual[2]
    batch, tops, name = param.batch_size or 1, list(layer.top), layer.name
    layer.Clear()
    layer.name, layer.type = name, "Input"
    layer.top.extend(tops)
    for index in range(len(tops)):
        shape = (batch, IMAGE[0], height, width) if index == 0 else (batch,)
        if index and is_dense:
            shape = (batch, 1, height, width)
        layer.input_param.shape.add(dim=shape)
    return True


def _stand_in(layer: caffe_pb2.LayerParameter) -> bool:
    """Makes a Python layer of a module that is not here an Input layer, if its tops are known."""
    module = layer.python_param.module
    if layer.type != "Python" or not all(top.split("/")[0] in TOPS for top in layer.top):
        return False
    try:
        if importlib.util.find_spec(module) is not None:
            return False
    except (ImportError, ValueError):
        pass  # its package is not here either
    classes = re.search(r"num_classes\D+(\d+)", layer.python_param.param_str)
    name, tops = layer.name, list(layer.top)
    layer.Clear()
    layer.name, layer.type = name, "Input"
    layer.top.extend(tops)
    for top in tops:
        shape = [4 * int(classes[1]) if d == "4K" and classes else 84 if d == "4K" else d
                 for d in TOPS[top.split("/")[0]]]  # fmt: skip
        layer.input_param.shape.add(dim=shape)
    return True


def _drop_fillers(message: Message) -> None:
    for field, value in message.ListFields():
        if field.name.endswith("filler"):
            message.ClearField(field.name)
        elif field.type == field.TYPE_MESSAGE:
            for one in value if hasattr(value, "add") else [value]:
                _drop_fillers(one)


def _needs_elsewhere(reason: str) -> bool:
    """Whether a file lacks what is not in it: a Python module, data, the shape of either."""
    return bool(
        re.search(
            r"stand-in|module '[^']*' is not found|cannot import|cannot open|cannot read", reason
        )
    )


def tables(found: list[Verdict]) -> Iterator[str]:
    """Markdown: counts a repository, then reasons with their counts."""
    columns = ("runs", "builds", "elsewhere", "refused")
    yield "| Repository | Nets | Run | Build | Need other files | Refused | Solvers | Refused |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    by_repository = defaultdict(list)
    for verdict in found:
        if verdict.kind != "other":
            by_repository[verdict.repository].append(verdict)
    rows = sorted(by_repository.items())
    rows.append(("all", [verdict for _, verdicts in rows for verdict in verdicts]))
    for name, verdicts in rows:
        nets = Counter(v.result for v in verdicts if v.kind == "net")
        solvers = Counter(v.result for v in verdicts if v.kind == "solver")
        cells = [sum(nets.values()), *(nets[column] for column in columns)]
        cells += [sum(solvers.values()), solvers["refused"]]
        yield f"| {name} | {' | '.join(map(str, cells))} |"
    for kind in ("net", "solver"):
        reasons: Counter[str] = Counter()
        places = defaultdict(set)
        for verdict in found:
            if verdict.kind == kind and verdict.result in ("refused", "elsewhere"):
                reason = _short(verdict.reason)
                reasons[reason] += 1
                places[reason].add(verdict.repository)
        if reasons:
            yield f"\n| {kind.capitalize()}s | Repositories | First reason |\n|---:|---:|---|"
            for reason, count in reasons.most_common():
                yield f"| {count} | {len(places[reason])} | {reason} |"


def _short(reason: str) -> str:
    """A reason without the file's own names."""
    reason = re.sub(r"^[^:\s]+(:\d+)*:\s*", "", reason)
    reason = re.sub(r"^'.*?': (?=Enum|Message)", "", reason)
    reason = re.sub(r"(the stand-in for data has another shape).*", r"\1", reason)
    reason = re.sub(r"layer '[^']*'(?=,|:| has|\s*\()", "a layer", reason)
    reason = re.sub(r"python_param.module '[^']*'", "a python_param.module", reason)
    reason = re.sub(r'Message type "caffe.(\w+)" has no field named "(\w+)"', r"\1.\2", reason)
    reason = re.sub(r", not of BVLC Caffe; the engine does not have it", "", reason)
    reason = re.sub(r" Its (fields|values) are: .*| the types are: .*", "", reason)
    reason = re.sub(r"'[^']*/[^']*'", "'…'", reason)
    return reason.replace("|", "\\|")[:220]


if __name__ == "__main__":
    sys.exit(main())
