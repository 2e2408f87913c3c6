"""`dualnet split`: from a single net to the pieces of a chain."""

from __future__ import annotations

import argparse
from typing import Any

from dualnet.cli.terminal import say
from dualnet.errors import UsageError

__all__ = ["RUNS_LAYERS", "add", "parse_shape", "say_what_runs"]

#: In the help of commands that build a net.
RUNS_LAYERS = """To know its shapes, the net is built as it stands: its Python layers are
imported and run. Give it no net whose code you would not run."""

_SPLIT_EXAMPLES = """examples:
  dualnet split prototxt/cifar10/single_train_test.prototxt --at pool2 --dual conv3 -o nets/pool2
  dualnet train nets/pool2/dual.yaml
  dualnet split prototxt/cifar10/single_train_test.prototxt --at pool1 --dual conv2 \
      --at pool2 --dual conv3 -o nets/three        three pieces: an --at and a --dual for each cut
  dualnet split net.prototxt --at res2a --dual res2b_conv1 res2b_bn1 -o nets/res2a \\
      --solver solver.prototxt       the shortcut beside the dual layers crosses too
  dualnet split train_val.prototxt --at norm1 --dual conv2 -o nets/norm1 --shape data=3,227,227
      data that is not on this machine
"""


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    _add_split(commands)


def _add_split(commands: Any) -> None:
    summary = (
        "cut a training net into pieces: net1, net2, …, their solvers and the YAML that runs them"
    )
    command = commands.add_parser(
        "split", help=summary, description=f"{summary}\n\n{RUNS_LAYERS}", epilog=_SPLIT_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.set_defaults(run=_split)
    command.add_argument("net", metavar="NET.prototxt", help="the single net, train and test phase")
    command.add_argument(
        "--at", nargs="+", action="append", required=True, metavar="BLOB",
        help="a piece ends here; other blobs that cross the cut are found and reported; given once "
        "for each cut, from the data to the loss",
    )  # fmt: skip
    command.add_argument(
        "--dual", nargs="+", action="append", required=True, metavar="LAYER",
        help="layers after the cut that the piece before it has too, and whose outputs are "
        "compared; once for each cut",
    )  # fmt: skip
    command.add_argument("-o", "--output", required=True, metavar="DIR")
    command.add_argument(
        "--solver", metavar="FILE", help="its solver (default: X_solver.prototxt beside "
        "X_train_test.prototxt)",
    )  # fmt: skip
    command.add_argument(
        "--loss", default="prototxt", metavar="RULE",
        help="coupling.loss of the YAML (default: EuclideanLoss, as the prototxt says)",
    )  # fmt: skip
    command.add_argument(
        "--target", default="gradient", metavar="RULE", help="coupling.target (default: gradient)"
    )
    command.add_argument(
        "--tie", default="start", metavar="RULE", help="coupling.tie (default: start)"
    )
    command.add_argument(
        "--shape", action="append", default=[], metavar="BLOB=C,H,W",
        help="one sample of a data layer whose data is not on this machine",
    )  # fmt: skip
    command.add_argument("--force", action="store_true", help="replace what is there")


def _split(options: argparse.Namespace) -> None:
    from dualnet.api.nets import split

    if len(options.at) != len(options.dual):
        raise UsageError(
            f"{len(options.at)} --at and {len(options.dual)} --dual: each cut needs one of both"
        )
    say_what_runs("split", options.net)
    result = split(
        options.net, list(zip(options.at, options.dual)), options.output, options.solver,
        options.target, options.tie, options.loss,
        dict(parse_shape(text) for text in options.shape), options.force,
        remark=lambda line: say(f"note: {line}"),
    )  # fmt: skip
    say(f"wrote {', '.join(result.contents)}")
    say(f"train with: dualnet train {result.yaml}")


def say_what_runs(command: str, path: str) -> None:
    """Say, before it happens, which code of the user's a command imports and runs.

    Args:
        command: Its name.
        path: The net's prototxt.

    Raises:
        ConfigError: It cannot be read.
    """
    from dualnet.cut.graph import read_net

    layers = [layer.python_param for layer in read_net(path).layer if layer.type == "Python"]
    names = dict.fromkeys(f"{layer.module}.{layer.layer}" for layer in layers)
    if names:
        say(f"note: {command} builds the net and so imports and runs its Python layers: "
            f"{', '.join(names)}")  # fmt: skip


def parse_shape(text: str) -> tuple[str, list[int]]:
    """The blob and shape of a --shape BLOB=C,H,W."""
    blob, equals, sizes = text.partition("=")
    try:
        shape = [int(size) for size in sizes.split(",")]
    except ValueError:
        shape = [0]
    if not (blob and equals) or any(size < 1 for size in shape):
        raise UsageError(f"--shape {text}: expected BLOB=C,H,W with sizes above zero")
    return blob, shape
