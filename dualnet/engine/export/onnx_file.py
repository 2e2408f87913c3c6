"""ONNX files: made of an exported program, and run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from dualnet.engine.errors import UnsupportedError
from dualnet.engine.export.program import Runner, quietly
from dualnet.engine.export.texts import ONNX_PACKAGES, import_for_onnx

__all__ = ["check_packages", "open_onnx", "write_onnx"]

#: Bytes; protobuf's limit is 2 GiB for the whole file.
_LARGEST = 2**31 - 2**20


def check_packages() -> None:
    """Checks that what ONNX needs is installed.

    Raises:
        UnsupportedError: it is not.
    """
    for package in ONNX_PACKAGES:
        import_for_onnx(package)


def write_onnx(
    program: torch.export.ExportedProgram,
    path: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    texts: Mapping[str, str],
) -> None:
    """Writes a program as one ONNX file.

    Args:
        program: what `trace` returned.
        path: the file.
        inputs: what the graph's inputs are to be called.
        outputs: likewise its outputs.
        texts: further contents by name, for the model's `metadata_props`.

    Raises:
        UnsupportedError: a package is missing, ONNX lacks an operator, or the weights do not fit.
        OSError: as the system says.
    """
    check_packages()
    size = sum(values.nbytes for values in program.state_dict.values())
    if size > _LARGEST:
        raise UnsupportedError(
            f"the weights take {size / 2**30:.1f} GiB, an ONNX file holds 2; write a .pt2 file"
        )
    with quietly():
        try:
            made: Any = torch.onnx.export(
                program, dynamo=True, input_names=list(inputs), output_names=list(outputs),
                external_data=False, optimize=True, verbose=False,
                dynamic_shapes=tuple({0: "batch"} for _ in inputs),  # names the axis
            )  # fmt: skip
        except torch.onnx.OnnxExporterError as error:
            reason = " ".join(str(error.__cause__ or error).split())[:300]
            raise UnsupportedError(
                f"PyTorch cannot write the net as ONNX: {reason}; write a .pt2 file"
            ) from error
        _clean(made.model)
        made.model.metadata_props.update(texts)
        made.save(path, external_data=False)


def _clean(model: Any) -> None:
    """Removes what the exporter notes at each node: files of this machine, among others."""
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.metadata_props.clear()


def open_onnx(path: str) -> Runner:
    """Loads an ONNX file as its users do, on the CPU.

    Args:
        path: the file.

    Raises:
        UnsupportedError: ONNX Runtime is missing, or does not load the file.
    """
    runtime = import_for_onnx("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors
    try:
        session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own types, which have no common base
        reason = " ".join(str(error).split())[:300]
        raise UnsupportedError(
            f"ONNX Runtime does not load the net: {reason}; write a .pt2 file"
        ) from error
    input_names = [one.name for one in session.get_inputs()]
    output_names = [one.name for one in session.get_outputs()]

    def run(inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        outputs = session.run(output_names, dict(zip(input_names, inputs)))
        return dict(zip(output_names, outputs))

    return run
