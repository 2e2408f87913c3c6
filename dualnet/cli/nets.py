"""`dualnet merge`: the commands that make something of nets and their halves."""

from __future__ import annotations

import argparse
from typing import Any

from dualnet import config
from dualnet.cli.settings import use_provider
from dualnet.cli.terminal import say

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    _add_merge(commands)


def _add_merge(commands: Any) -> None:
    summary = "write one caffemodel, and its prototxt, of what both halves have trained"
    command = commands.add_parser(
        "merge", help=summary, description=summary,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  dualnet merge runs/a -o cifar10.caffemodel\n"
        "      and cifar10_train_test.prototxt, cifar10_deploy.prototxt beside it\n"
        "  dualnet merge runs/a -o earlier.caffemodel --iteration 1000 --dual net1",
    )  # fmt: skip
    command.set_defaults(run=_merge)
    command.add_argument("run_dir", metavar="RUN_DIR")
    command.add_argument("-o", "--output", required=True, metavar="FILE", help="the caffemodel")
    command.add_argument(
        "--dual", choices=("net1", "net2"), default="net2",
        help="whose dual layers (default: net2, whose were trained on the labels)",
    )  # fmt: skip
    command.add_argument("--iteration", type=int, help="a snapshot's iteration (default: latest)")
    command.add_argument("--force", action="store_true", help="replace what is there")


def _merge(options: argparse.Namespace) -> None:
    loaded = config.load_run(options.run_dir)
    use_provider(loaded)
    from dualnet.train.merge import merge

    for path in merge(
        options.run_dir, loaded, options.output, options.dual, options.iteration, options.force
    ):
        say(f"wrote {path}")
