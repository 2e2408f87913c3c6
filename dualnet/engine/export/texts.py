"""Texts that an exported file carries besides the net; they are read without PyTorch."""

from __future__ import annotations

import importlib
import zipfile
from typing import Any, Optional

from dualnet.engine.errors import DataError, UnsupportedError

__all__ = ["ONNX_PACKAGES", "import_for_onnx", "read_onnx_text", "read_pt2_text"]

#: What the extra `onnx` installs: the format, PyTorch's operators in it, and what runs it.
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def read_pt2_text(path: str, name: str) -> Optional[str]:
    """One of a PyTorch program's `extra_files`; None where it has none of that name.

    Raises:
        DataError: it is no such file.
        OSError: as the system says.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.namelist():
                if entry.endswith(f"/extra/{name}"):
                    return archive.read(entry).decode()
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not an exported program of PyTorch's: {error}") from error
    return None


def read_onnx_text(path: str, name: str) -> Optional[str]:
    """One of an ONNX model's `metadata_props`; None where it has none of that name.

    Raises:
        UnsupportedError: the package onnx is missing.
        DataError: it is no such file.
        OSError: as the system says.
    """
    onnx = import_for_onnx("onnx")
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise DataError(f"{path}: not an ONNX file: {error}") from error
    return {prop.key: prop.value for prop in model.metadata_props}.get(name)


def import_for_onnx(package: str) -> Any:
    """Imports one of `ONNX_PACKAGES`.

    Raises:
        UnsupportedError: it cannot be imported.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UnsupportedError(
            f"ONNX needs {', '.join(ONNX_PACKAGES)}, and {package} cannot be imported ({error}); "
            "run pip install 'dualnet[onnx]', or export a .pt2 file"
        ) from error
