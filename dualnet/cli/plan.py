"""`dualnet plan`: where to cut a net."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any, Optional

from dualnet import config
from dualnet.cli.cut import RUNS_LAYERS, parse_shape, say_what_runs
from dualnet.cli.terminal import say
from dualnet.config.exchange import CARRIERS
from dualnet.config.schema import ORDERS
from dualnet.errors import UsageError
from dualnet.strict_json import to_json
from dualnet.training.start.cores import pin

if TYPE_CHECKING:
    from dualnet.cut.plan.cut_plan import CutPlan

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command to the parser."""
    summary = "measure where a net can be cut, and find the best chain of pieces"
    command = commands.add_parser(
        "plan", help=summary, description=f"{summary}\n\n{RUNS_LAYERS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  dualnet plan prototxt/cifar10/single_train_test.prototxt --exchange-dir runs\n"
        "  dualnet plan net.prototxt --pieces 4 --memory-gib 6 --schedule pipelined -o plan.png\n"
        "  dualnet plan net.prototxt --solver solver.prototxt --batch 64 --device 0 --write nets\n"
        "  dualnet plan train_val.prototxt --shape data=3,227,227      without its data",
    )  # fmt: skip
    command.set_defaults(run=_plan)
    command.add_argument("net", metavar="NET.prototxt", help="the single net, train and test phase")
    command.add_argument(
        "--solver", metavar="FILE", help="its solver (default: X_solver.prototxt beside "
        "X_train_test.prototxt)",
    )  # fmt: skip
    command.add_argument(
        "--pieces", type=int, default=2, metavar="K", help="how many pieces (default: 2)"
    )
    command.add_argument(
        "--memory-gib", type=float, metavar="M", help="memory that each piece may need at most"
    )
    command.add_argument("--device", default="cpu", help="cpu, or the number of a GPU")
    command.add_argument("--batch", type=int, metavar="N", help="default: the prototxt's")
    command.add_argument(
        "--threads", type=int, default=0, metavar="N",
        help="CPU threads of a piece (default: half of this machine's cores)",
    )  # fmt: skip
    command.add_argument(
        "--nodes", choices=("separate", "shared"), default="separate",
        help="whether each piece has a node of its own, or all share this machine, whose cores "
        "over --threads (or whose GPU) let so many compute at a time (default: separate)",
    )  # fmt: skip
    command.add_argument(
        "--exchange-dir", default=".", metavar="DIR",
        help="directory used to time the exchange; choose the shared directory of the runs "
        "(default: the current one)",
    )  # fmt: skip
    command.add_argument(
        "--carrier", choices=CARRIERS, default="files",
        help="what is to carry the messages (default: files)",
    )  # fmt: skip
    command.add_argument(
        "--latency-ms", type=float, default=0.0, metavar="MS",
        help="delay of a message that the network of the runs adds to what is measured here",
    )  # fmt: skip
    command.add_argument(
        "--mbit-per-s", type=float, metavar="R", help="rate of that network (default: any)"
    )
    command.add_argument(
        "--shape", action="append", default=[], metavar="BLOB=C,H,W",
        help="one sample of a data layer whose data is not on this machine",
    )  # fmt: skip
    command.add_argument(
        "--target", choices=("gradient", "backprop"), default="gradient",
        help="what the pieces answer: backprop computes no layer twice (default: gradient, which "
        "stands for all that compare outputs once a batch)",
    )  # fmt: skip
    command.add_argument(
        "--schedule", choices=("alternating", "overlapped", "pipelined"), default="alternating",
        help="whose best chain is recommended (default: alternating); all three are shown",
    )  # fmt: skip
    command.add_argument(
        "--staleness", type=int, default=1, metavar="S", help="of overlapped (default: 1)"
    )
    command.add_argument(
        "--micro-batches", type=int, metavar="M",
        help="of pipelined (default: 4, 3 or 2, as divides the batch)",
    )  # fmt: skip
    command.add_argument(
        "--micro-batch-order", choices=ORDERS, default="1f1b",
        help="of the micro-batches: as few as possible under way, or all up and then all down "
        "(default: 1f1b)",
    )  # fmt: skip
    command.add_argument("--repeats", type=int, default=7, metavar="N", help="iterations measured")
    command.add_argument("--json", action="store_true", help="one JSON line instead of the tables")
    command.add_argument(
        "-o", "--output", metavar="FILE", help="draw the plan into this file (png, svg or pdf)"
    )
    command.add_argument(
        "--write", metavar="DIR", help="split the net as recommended; DIR/dual.yaml runs it"
    )
    command.add_argument("--force", action="store_true", help="replace what is there")


def _plan(options: argparse.Namespace) -> None:
    device = int(options.device) if options.device.isdigit() else options.device
    for name, value, least in (
        ("--pieces", options.pieces, 2), ("--batch", options.batch, 1),
        ("--threads", options.threads, 0), ("--staleness", options.staleness, 1),
        ("--micro-batches", options.micro_batches, 1), ("--repeats", options.repeats, 1),
    ):  # fmt: skip
        if value is not None and value < least:
            raise UsageError(f"{name} {value}: {least} or more is needed")
    limit = options.memory_gib
    if limit is not None and not 0 < limit < float("inf"):
        raise UsageError(f"--memory-gib {limit:g}: a number of GiB above 0 is needed")
    if not 0 <= options.latency_ms < float("inf"):
        raise UsageError(
            f"--latency-ms {options.latency_ms:g}: milliseconds, 0 or more, are needed"
        )
    rate = options.mbit_per_s
    if rate is not None and not 0 < rate < float("inf"):
        raise UsageError(f"--mbit-per-s {rate:g}: a number of Mbit/s above 0 is needed")
    if device != "cpu" and not isinstance(device, int):
        raise UsageError(f"--device {device}: neither cpu nor the number of a GPU")
    cores = len(os.sched_getaffinity(0))
    threads = options.threads or max(1, cores // 2)
    pin(config.Piece(threads=threads))
    os.environ.setdefault("GLOG_minloglevel", "2")
    from dualnet.cut.plan.cut_plan import Request, plan
    from dualnet.cut.plan.figure import check_output, draw_plan
    from dualnet.cut.plan.record import to_record
    from dualnet.cut.plan.table import to_text
    from dualnet.training.start.progress import ProgressBar

    if options.output:
        check_output(options.output, options.force)
    say_what_runs("plan", options.net)
    bar: list[ProgressBar] = []

    def progress(done: int, total: int) -> None:
        if not bar:
            bar.append(ProgressBar(total))
        bar[0].update(done, {})

    processors: Optional[int] = None
    if options.nodes == "shared":
        processors = max(1, cores // threads) if device == "cpu" else 1
    found = plan(
        Request(
            options.net,
            solver=options.solver,
            pieces=options.pieces,
            device=device,
            threads=threads,
            batch=options.batch,
            exchange_dir=options.exchange_dir,
            carrier=options.carrier,
            latency_s=options.latency_ms / 1e3,
            bytes_per_s=None if rate is None else rate * 1e6 / 8,
            shapes=dict(parse_shape(text) for text in options.shape),
            processors=processors,
            target=options.target,
            schedule=options.schedule,
            staleness=options.staleness,
            micro_batches=options.micro_batches,
            micro_batch_order=options.micro_batch_order,
            limit_bytes=None if limit is None else int(limit * 2**30),
            repeats=options.repeats,
        ),
        progress,
    )
    if bar:
        bar[0].close()
    sys.stdout.write(to_json(to_record(found)) + "\n" if options.json else to_text(found))
    if options.output:
        draw_plan(found, options.output, options.force)
        say(f"wrote {options.output}")
    if options.write:
        _write(found, options.write, options.force)


def _write(found: CutPlan, output: str, force: bool) -> None:
    """Split the net as recommended."""
    from dualnet.cut.plan.table import split_request
    from dualnet.cut.split import split, write

    if found.best is None:
        raise UsageError(f"--write {output}: nothing to write, {found.choice.reason}")
    request = split_request(found, found.best, output)
    result = split(request)
    for remark in result.remarks:
        say(f"note: {remark}")
    write(request, result, force)
    say(f"wrote {', '.join(result.contents)}")
    say(f"train with: dualnet train {result.yaml}{_settings(found)}")


def _settings(found: CutPlan) -> str:
    """What of a plan's schedule the YAML of a split does not say."""
    schedule = found.request.schedule
    keys: dict[str, object] = {"schedule": schedule}
    if schedule == "alternating":
        return ""
    if schedule == "overlapped":
        keys["staleness"] = found.request.staleness
    else:
        keys["micro_batches"] = found.measured.micro_batches
        keys["micro_batch_order"] = found.request.micro_batch_order
    return "".join(f" --set train.{key}={value}" for key, value in keys.items())
