"""Images of drawings by graphviz's program `dot`, and drawings as they are where it is missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping

from dualnet.atomic import write_together
from dualnet.config import Config
from dualnet.cut.drawing.draw import arrangements, draw
from dualnet.cut.graph import NetGraph
from dualnet.errors import ConfigError, StorageFailed, UsageError

__all__ = ["FORMATS", "write_drawing"]

FORMATS = ("png", "svg", "pdf", "dot")


def write_drawing(
    graphs: Mapping[str, NetGraph], config: Config, path: str, force: bool = False
) -> None:
    """Write the drawing in the format that the path ends in, one of `FORMATS`.

    Args:
        graphs, config: As of `draw`.
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
    if program is not None:
        text = _placed(program, graphs, config)
    elif form == "dot":
        text = draw(graphs, config)
    else:
        other = os.path.splitext(path)[0] + ".dot"
        raise ConfigError(
            f"{path}: graphviz's program dot, which draws {form}, is not on the PATH: install the "
            f"system package graphviz, or write -o {other}"
        )
    content = text.encode()
    if form != "dot":
        content = _run(str(program), content, form, *(["-Gdpi=144"] if form == "png" else []))
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        write_together({path: content}, force)
    except FileExistsError as error:
        raise UsageError(f"{path} exists already: give --force to replace it") from error
    except OSError as error:
        raise StorageFailed(
            f"{path}: cannot write the drawing: {error.strerror}; choose another -o FILE"
        ) from error


def _placed(program: str, graphs: Mapping[str, NetGraph], config: Config) -> str:
    """The drawing with each piece left of the next, or at least one that graphviz can place.

    Raises:
        ConfigError: It can place none.
    """
    drawn, failure = "", None
    for arrangement in arrangements(config):
        text = draw(graphs, config, arrangement)
        try:
            layout = _run(program, text.encode(), "plain").decode()
        except ConfigError as error:
            failure = failure or error
            continue
        drawn = drawn or text
        middles = [_middle(layout, name) for name in config.names]
        if middles == sorted(middles):
            return text
    if failure is not None and not drawn:
        raise failure
    return drawn


def _middle(layout: str, piece: str) -> float:
    """The mean place of a net's boxes from left to right."""
    places = re.findall(rf'^node "{piece} [^"]*" (\S+)', layout, re.MULTILINE)
    return sum(map(float, places)) / max(1, len(places))


def _run(program: str, content: bytes, form: str, *options: str) -> bytes:
    done = subprocess.run([program, f"-T{form}", *options], input=content, capture_output=True)
    if done.returncode != 0:
        reason = " ".join(done.stderr.decode(errors="replace").split())
        raise ConfigError(f"graphviz's dot ended with {done.returncode}: {reason}")
    return done.stdout
