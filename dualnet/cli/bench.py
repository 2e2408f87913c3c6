"""`dualnet bench WHAT`: measurements of this machine, as JSON lines."""

from __future__ import annotations

import argparse
import json
from typing import Any

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command and its kinds to the parser."""
    summary = "measure this machine; prints JSON lines"
    command = commands.add_parser("bench", help=summary, description=summary)
    benches = command.add_subparsers(metavar="WHAT", required=True)
    _add_engine(benches)


def _add_engine(benches: Any) -> None:
    summary = "time training steps of the engine, plain PyTorch and, where there is one, BVLC Caffe"
    command = benches.add_parser(
        "engine", help=summary, description=summary,
        epilog="BVLC Caffe takes part where DUALNET_BVLC_PYTHON names an interpreter that has it.",
    )  # fmt: skip
    command.set_defaults(run=_engine)
    command.add_argument(
        "--net", choices=("cifar10", "caffenet", "both"), default="both",
        help="cifar10: the single net at batch 256; caffenet: CaffeNet at batch 16 (default: both)",
    )  # fmt: skip
    command.add_argument("--threads", type=int, help="of each contender (default: all cores)")
    command.add_argument("--repeats", type=int, default=10, help="rounds (default: 10)")
    command.add_argument(
        "--seconds", type=float, default=2.0, help="a contender's turn in a round (default: 2)"
    )
    command.add_argument(
        "--layers", type=int, default=0, metavar="STEPS", help="time single layers, too"
    )


def _engine(options: argparse.Namespace) -> None:
    from dualnet.bench import bench_engine

    for record in bench_engine(
        options.net, options.threads, options.repeats, options.seconds, options.layers
    ):
        print(json.dumps(record), flush=True)
