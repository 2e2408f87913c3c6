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
    _add_exchange(benches)


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


def _add_exchange(benches: Any) -> None:
    summary = "time messages of several sizes over each carrier, beside the machine's copy floor"
    command = benches.add_parser(
        "exchange", help=summary, description=summary,
        epilog="example: dualnet bench exchange --carrier files tcp --sizes 2 8 --unverified",
    )  # fmt: skip
    command.set_defaults(run=_exchange)
    command.add_argument(
        "--carrier", nargs="+", default=["files", "tcp"], metavar="NAME",
        help="files, tcp, torch (default: files tcp)",
    )  # fmt: skip
    command.add_argument(
        "--sizes", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32, 64], metavar="MB",
        help="of a message, in units of 2^20 bytes (default: 1 2 4 8 16 32 64)",
    )  # fmt: skip
    command.add_argument("--rounds", type=int, default=5, help="turns of each (default: 5)")
    command.add_argument("--seconds", type=float, default=0.3, help="of a turn (default: 0.3)")
    command.add_argument(
        "--unverified", action="store_true", help="also each carrier with exchange.verify=false"
    )
    command.add_argument("--dir", default="", help="where the exchange directories are made")


def _exchange(options: argparse.Namespace) -> None:
    from dualnet.bench import machine
    from dualnet.bench.exchange import bench_exchange

    print(json.dumps(machine()), flush=True)
    for record in bench_exchange(
        options.carrier, options.sizes, options.rounds, options.seconds, options.unverified,
        options.dir,
    ):  # fmt: skip
        print(json.dumps(record), flush=True)
