"""Images of drawings by graphviz's program `dot`, and drawings as they are where it is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import Optional

from dualnet.atomic import write_together
from dualnet.config import Config
from dualnet.cut.drawing.draw import Drawing, make_drawing
from dualnet.cut.drawing.places import read_places
from dualnet.cut.drawing.placing import set_side_by_side
from dualnet.cut.graph import NetGraph
from dualnet.errors import ConfigError, StorageFailed, UsageError

__all__ = ["FORMATS", "write_drawing"]

FORMATS = ("png", "svg", "pdf", "dot")
#: The first line of a drawing in which everything has its place.
_PLACED = "// drawn as it is by: neato -n2 -Tsvg FILE\n"


def write_drawing(
    graphs: Mapping[str, NetGraph], config: Config, path: str, force: bool = False
) -> None:
    """Write the drawing in the format that the path ends in, one of `FORMATS`.

    Args:
        graphs, config: As of `make_drawing`.
        path: The file.
        force: Replace a file that is there.

    Raises:
        UsageError: Another format is asked for, or the file is there already.
        ConfigError: graphviz is not installed, or refuses the drawing.
        StorageFailed: The file cannot be written.
    """
    form = os.path.splitext(path)[1][1:].lower()
    if form not in FORMATS:
        raise UsageError(f"{path}: valid formats are {', '.join(FORMATS)}; end the name in one")
    program = shutil.which("dot")
    drawing = make_drawing(graphs, config)
    if program is None and form != "dot":
        other = os.path.splitext(path)[0] + ".dot"
        raise ConfigError(
            f"{path}: graphviz's program dot, which draws {form}, is not on the PATH: install the "
            f"system package graphviz, or write -o {other}"
        )
    content = _content(program, drawing, form)
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        write_together({path: content}, force)
    except FileExistsError as error:
        raise UsageError(f"{path} exists already: give --force to replace it") from error
    except OSError as error:
        raise StorageFailed(
            f"{path}: cannot write the drawing: {error.strerror}; choose another -o FILE"
        ) from error


def _content(program: Optional[str], drawing: Drawing, form: str) -> bytes:
    """The drawing in a format."""
    placed = _placed(program, drawing) if program is not None else None
    if form == "dot":
        return (placed or drawing.text()).encode()
    options = ["-Gdpi=144"] if form == "png" else []
    if placed is not None:
        # What draws things where they are is another program of graphviz's, in the same file.
        options += ["-Kneato", "-n2"]
    return _run(str(program), (placed or drawing.text()).encode(), form, *options)


def _placed(program: str, drawing: Drawing) -> Optional[str]:
    """The drawing with the place of everything in it; None where graphviz cannot place it."""
    try:
        layout = _run(program, drawing.text(has_arrows=False).encode(), "json0").decode()
    except ConfigError:
        return None
    places = read_places(layout)
    if places is None:
        return None
    try:
        set_side_by_side(places, list(drawing.columns), drawing.arrows)
        return _PLACED + drawing.text(places)
    except (KeyError, IndexError):
        return None  # the layout lacks something


def _run(program: str, content: bytes, form: str, *options: str) -> bytes:
    done = subprocess.run([program, f"-T{form}", *options], input=content, capture_output=True)
    if done.returncode != 0:
        reason = " ".join(done.stderr.decode(errors="replace").split())
        raise ConfigError(f"graphviz's dot ended with {done.returncode}: {reason}")
    return done.stdout
