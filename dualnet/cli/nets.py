"""`dualnet merge|draw`: commands on nets and their pieces."""

from __future__ import annotations

import argparse
from typing import Any

from dualnet.api.results import Run
from dualnet.cli.settings import add_config, load
from dualnet.cli.terminal import say

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    _add_merge(commands)
    _add_draw(commands)


def _add_merge(commands: Any) -> None:
    summary = "write one caffemodel, and its prototxt, of what the pieces have trained"
    command = commands.add_parser(
        "merge", help=summary, description=summary,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  dualnet merge runs/a -o cifar10.caffemodel\n"
        "      and cifar10_train_test.prototxt, cifar10_deploy.prototxt beside it\n"
        "  dualnet merge runs/a -o earlier.caffemodel --iteration 1000 --dual net1\n"
        "Both nets are tried on a batch of the data set first: their outputs must be the pieces'.",
    )  # fmt: skip
    command.set_defaults(run=_merge)
    command.add_argument("run_dir", metavar="RUN_DIR")
    command.add_argument("-o", "--output", required=True, metavar="FILE", help="the caffemodel")
    command.add_argument(
        "--dual", choices=("upper", "lower", "net2", "net1"), default="upper",
        help="whose dual layers beside each cut (default: the upper piece's, which were trained on "
        "the loss; in a chain of two that is net2)",
    )  # fmt: skip
    command.add_argument("--iteration", type=int, help="a snapshot's iteration (default: latest)")
    command.add_argument("--force", action="store_true", help="replace what is there")


def _merge(options: argparse.Namespace) -> None:
    run = Run(options.run_dir)
    for path in run.merge(options.output, options.dual, options.iteration, options.force):
        say(f"wrote {path}")


def _add_draw(commands: Any) -> None:
    summary = "draw the single net and its pieces side by side, and what they exchange"
    command = commands.add_parser(
        "draw", help=summary, description=summary,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  dualnet draw configs/cifar10.yaml -o nets.pdf\n"
        "  dualnet draw nets/pool2/dual.yaml -o nets.dot      needs no graphviz",
    )  # fmt: skip
    command.set_defaults(run=_draw)
    add_config(command)
    command.add_argument("-o", "--output", required=True, metavar="FILE", help="png, svg, pdf, dot")
    command.add_argument("--force", action="store_true", help="replace what is there")


def _draw(options: argparse.Namespace) -> None:
    loaded = load(options)
    from dualnet.cut.drawing.draw import load_graphs
    from dualnet.cut.drawing.graphviz import write_drawing

    write_drawing(load_graphs(loaded), loaded, options.output, options.force)
    say(f"wrote {options.output}")
