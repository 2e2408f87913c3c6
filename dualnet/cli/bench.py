"""`dualnet bench WHAT`: measurements of this machine, as JSON lines."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from itertools import chain
from typing import Any

from dualnet import config
from dualnet.atomic import write_atomically
from dualnet.cli.provider import require_torch
from dualnet.cli.settings import add_config
from dualnet.cli.terminal import say
from dualnet.config.provider import use_provider
from dualnet.errors import StorageFailed
from dualnet.strict_json import to_json

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command and its kinds to the parser."""
    summary = "measure this machine; prints JSON lines, and a table on standard error"
    command = commands.add_parser("bench", help=summary, description=summary)
    benches = command.add_subparsers(metavar="WHAT", required=True)
    _add_engine(benches)
    _add_exchange(benches)
    _add_memory(benches)
    _add_overlap(benches)


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
    command.add_argument(
        "--threads", type=int, help="CPU threads of each process (default: all cores)"
    )
    command.add_argument(
        "--repeats",
        type=int,
        default=10,
        help="rounds in which each variant is timed once (default: 10)",
    )
    command.add_argument(
        "--seconds",
        type=float,
        default=2.0,
        help="seconds that each variant is timed in a round (default: 2)",
    )
    command.add_argument(
        "--layers",
        type=int,
        default=0,
        metavar="STEPS",
        help="also time each layer by itself, over STEPS training steps",
    )


def _engine(options: argparse.Namespace) -> None:
    require_torch()
    from dualnet.bench import bench_engine

    _print(
        bench_engine(options.net, options.threads, options.repeats, options.seconds, options.layers)
    )


def _add_exchange(benches: Any) -> None:
    summary = "time messages of several sizes over each carrier, beside the machine's copy floor"
    command = benches.add_parser(
        "exchange", help=summary, description=summary,
        epilog="example: dualnet bench exchange --sizes 2 8 --digest sha256 blake3",
    )  # fmt: skip
    command.set_defaults(run=_exchange)
    command.add_argument(
        "--carrier", nargs="+", default=["files", "tcp"], metavar="NAME",
        help="files, tcp, torch (default: files tcp)",
    )  # fmt: skip
    command.add_argument(
        "--sizes", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32, 64], metavar="MIB",
        help="sizes of a message in MiB (default: 1 2 4 8 16 32 64)",
    )  # fmt: skip
    command.add_argument(
        "--rounds",
        type=int,
        default=5,
        help="rounds in which each carrier is timed once (default: 5)",
    )
    command.add_argument(
        "--seconds",
        type=float,
        default=0.3,
        help="seconds that each carrier is timed in a round (default: 0.3)",
    )
    command.add_argument(
        "--unverified",
        action="store_true",
        help="also time each carrier with exchange.verify=false",
    )
    command.add_argument(
        "--digest", nargs="+", default=["sha256"], metavar="NAME",
        help="sha256, blake3: each carrier is timed with each (default: sha256)",
    )  # fmt: skip
    command.add_argument(
        "--dir",
        default="",
        help="make the exchange directories in this one (default: a temporary one)",
    )


def _exchange(options: argparse.Namespace) -> None:
    from dualnet.bench import machine
    from dualnet.bench.exchange import bench_exchange

    measured = bench_exchange(
        options.carrier, options.sizes, options.rounds, options.seconds, options.unverified,
        options.dir, options.digest,
    )  # fmt: skip
    _print(chain([machine()], measured))


_MEMORY_EXAMPLES = """examples:
  dualnet bench memory configs/cifar10.yaml --limit-mib 2048 --table memory.md
  dualnet bench memory configs/cifar10.yaml --limit-mib 2048 --cut pool1:conv2 --cut pool2:conv3
  dualnet bench memory configs/cifar10.yaml --limit-mib 2048 --cut pool1:conv2+pool2:conv3
  dualnet bench memory configs/cifar10_three.yaml --limit-mib 2048 --pieces net2 net3
  dualnet bench memory configs/cifar10.yaml --device 0
On the CPU the limit is on each process's resident memory, its libraries included: address space
that is reserved and never touched does not count. On a GPU it is on what PyTorch hands out.
"""


def _add_memory(benches: Any) -> None:
    summary = "find the largest batch of the single net and of each piece in the same memory"
    command = benches.add_parser(
        "memory", help=summary, description=summary, epilog=_MEMORY_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.set_defaults(run=_memory)
    add_config(command, is_required=True)
    command.add_argument(
        "--limit-mib", type=float, metavar="N",
        help="memory of each process in MiB (on a GPU, default: all of it)",
    )  # fmt: skip
    command.add_argument("--device", default="cpu", help="cpu, or the number of a GPU")
    command.add_argument(
        "--pieces", nargs="+", metavar="PIECE", default=[],
        help="which of single, net1, net2, … (default: all that the chain has)",
    )  # fmt: skip
    _add_cut(command)
    command.add_argument("--start", type=int, default=64, help="first batch tried (default: 64)")
    command.add_argument(
        "--resolution", type=float, default=0.01,
        help="how near to the largest batch to come (default: 0.01, one per cent)",
    )  # fmt: skip
    command.add_argument(
        "--iterations",
        type=int,
        default=2,
        help="training iterations with each batch size that is tried (default: 2)",
    )
    command.add_argument(
        "--no-layers", action="store_true", help="do not measure the memory of each layer"
    )
    command.add_argument(
        "--table", metavar="FILE", help="also write the tables in Markdown to this file"
    )


def _add_cut(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--cut", action="append", default=[], metavar="BLOB:LAYER[+…]", dest="chains",
        help="measure another chain instead of the config's: its single net cut here, as "
        "pool1:conv2, or at several places, as pool1:conv2+pool2:conv3 for three pieces; repeat "
        "it to compare chains",
    )  # fmt: skip


def _memory(options: argparse.Namespace) -> None:
    use_provider(config.load(options.config, options.overrides))
    from dualnet.bench.memory.largest import MemoryRequest, bench_memory
    from dualnet.bench.memory.table import memory_table

    request = MemoryRequest(
        options.config, options.overrides, options.chains, options.pieces, options.limit_mib,
        options.device, options.start, options.resolution, options.iterations,
        not options.no_layers,
    )  # fmt: skip
    records = _print(bench_memory(request, say))
    if options.table:
        _write(options.table, memory_table(records))


def _print(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Print records as they come, then as a table on standard error, and return them."""
    from dualnet.bench.records_table import records_table

    seen = []
    for record in records:
        print(to_json(record), flush=True)
        seen.append(record)
    say(f"\n{records_table(seen)}".rstrip("\n"))
    return seen


def _write(path: str, text: str) -> None:
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise StorageFailed(
            f"{path}: cannot write the tables: {error.strerror}; choose another file"
        ) from error


_OVERLAP_EXAMPLES = """examples:
  dualnet bench overlap configs/cifar10.yaml --cut pool1:conv2 --cut pool2:conv3
  dualnet bench overlap configs/cifar10.yaml --cut pool1:conv2+pool2:conv3 --micro-batches 2 4 8
  dualnet bench overlap configs/cifar10.yaml --cores-each 1 --iterations 50 --staleness 1
  dualnet bench overlap configs/cifar10.yaml --set exchange.carrier=tcp --set train.batch_size=128
"""


def _add_overlap(benches: Any) -> None:
    summary = "time the alternating, pipelined and overlapped schedules, and the single net"
    command = benches.add_parser(
        "overlap", help=summary, description=summary, epilog=_OVERLAP_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.set_defaults(run=_overlap)
    add_config(command, is_required=True)
    _add_cut(command)
    command.add_argument(
        "--iterations", type=int, default=30, help="iterations timed in a repetition (default: 30)"
    )
    command.add_argument(
        "--warm-up", type=int, default=5, help="iterations before them, not timed (default: 5)"
    )
    command.add_argument(
        "--rounds", type=int, default=3, help="repetitions of each training (default: 3)"
    )
    command.add_argument(
        "--cores-each", type=int, metavar="K",
        help="cores of each piece; single gets as many as all pieces (default: an equal share; "
        "where there are fewer cores than pieces, all share them)",
    )  # fmt: skip
    command.add_argument(
        "--staleness",
        nargs="*",
        type=int,
        default=[1, 2],
        metavar="S",
        help="overlapped: values of train.staleness; none leaves it out (default: 1 2)",
    )
    command.add_argument(
        "--micro-batches", nargs="*", type=int, default=[4], metavar="M",
        help="pipelined: values of train.micro_batches; none leaves it out (default: 4)",
    )  # fmt: skip
    command.add_argument(
        "--activations", nargs="+", choices=("keep", "recompute"), metavar="HOW",
        default=["keep", "recompute"],
        help="overlapped: values of train.stale_activations (default: keep recompute)",
    )  # fmt: skip


def _overlap(options: argparse.Namespace) -> None:
    use_provider(config.load(options.config, options.overrides))
    from dualnet.bench.schedules.overlap import OverlapRequest, bench_overlap

    request = OverlapRequest(
        options.config, options.overrides, options.chains, options.iterations, options.warm_up,
        options.rounds, options.cores_each, options.staleness, options.activations,
        options.micro_batches,
    )  # fmt: skip
    _print(bench_overlap(request, say))
