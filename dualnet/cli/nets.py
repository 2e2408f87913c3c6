"""`dualnet merge|draw|plan`: commands on nets and their pieces."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from dualnet import config
from dualnet.cli.cores import pin
from dualnet.cli.cut import RUNS_LAYERS, parse_shape, say_what_runs
from dualnet.cli.settings import add_config, load, use_provider
from dualnet.cli.terminal import say
from dualnet.errors import UsageError
from dualnet.rundir import RunDir
from dualnet.strict_json import to_json

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    _add_merge(commands)
    _add_draw(commands)
    _add_plan(commands)


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
    run = RunDir(options.run_dir)
    loaded = config.load_run(run)
    use_provider(loaded)
    from dualnet.train.outcome.merge import merge

    for path in merge(run, loaded, options.output, options.dual, options.iteration, options.force):
        say(f"wrote {path}")


def _add_draw(commands: Any) -> None:
    summary = "draw the single net, net1 and net2 side by side, and what they exchange"
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


def _add_plan(commands: Any) -> None:
    summary = "measure where a net can be cut, and what each cut costs in time and memory"
    command = commands.add_parser(
        "plan", help=summary, description=f"{summary}\n\n{RUNS_LAYERS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  dualnet plan prototxt/cifar10/single_train_test.prototxt --exchange-dir runs\n"
        "  dualnet plan net.prototxt --solver solver.prototxt --batch 64 --device 0 -o plan.png\n"
        "  dualnet plan train_val.prototxt --shape data=3,227,227      without its data",
    )  # fmt: skip
    command.set_defaults(run=_plan)
    command.add_argument("net", metavar="NET.prototxt", help="the single net, train and test phase")
    command.add_argument(
        "--solver", metavar="FILE", help="its solver (default: X_solver.prototxt beside "
        "X_train_test.prototxt)",
    )  # fmt: skip
    command.add_argument("--device", default="cpu", help="cpu, or the number of a GPU")
    command.add_argument("--batch", type=int, metavar="N", help="default: the prototxt's")
    command.add_argument(
        "--threads", type=int, default=0, metavar="N",
        help="CPU threads of a half (default: half of this machine's cores)",
    )  # fmt: skip
    command.add_argument(
        "--cores", choices=("own", "shared"), default="own",
        help="whether both halves run on the same cores (default: each has its own)",
    )  # fmt: skip
    command.add_argument(
        "--exchange-dir", default=".", metavar="DIR",
        help="where messages are timed, as the shared directory of the runs (default: here)",
    )  # fmt: skip
    command.add_argument(
        "--shape", action="append", default=[], metavar="BLOB=C,H,W",
        help="one sample of a data layer whose data is not on this machine",
    )  # fmt: skip
    command.add_argument(
        "--schedule", choices=("alternating", "overlapped"), default="alternating",
        help="whose time decides between cuts of equal memory (default: alternating)",
    )  # fmt: skip
    command.add_argument("--repeats", type=int, default=7, metavar="N", help="iterations measured")
    command.add_argument("--json", action="store_true", help="one JSON line instead of the table")
    command.add_argument("-o", "--output", metavar="FILE", help="a picture: png, svg, pdf")
    command.add_argument("--force", action="store_true", help="replace what is there")


def _plan(options: argparse.Namespace) -> None:
    device = int(options.device) if options.device.isdigit() else options.device
    for name, value, least in (
        ("--batch", options.batch, 1), ("--threads", options.threads, 0),
        ("--repeats", options.repeats, 1),
    ):  # fmt: skip
        if value is not None and value < least:
            raise UsageError(f"{name} {value}: {least} or more is needed")
    if device != "cpu" and not isinstance(device, int):
        raise UsageError(f"--device {device}: neither cpu nor the number of a GPU")
    threads = options.threads or max(1, len(os.sched_getaffinity(0)) // 2)
    pin(config.Piece(threads=threads))
    os.environ.setdefault("GLOG_minloglevel", "2")
    from dualnet.cut.plan import Request, plan
    from dualnet.cut.plan.figure import check_output, draw_plan
    from dualnet.cut.plan.table import to_record, to_text
    from dualnet.train.start.progress import ProgressBar

    if options.output:
        check_output(options.output, options.force)
    say_what_runs("plan", options.net)
    bar: list[ProgressBar] = []

    def progress(done: int, total: int) -> None:
        if not bar:
            bar.append(ProgressBar(total))
        bar[0].update(done, {})

    found = plan(
        Request(
            options.net, options.solver, device, threads, options.batch, options.exchange_dir,
            dict(parse_shape(text) for text in options.shape), options.cores == "shared",
            options.schedule, options.repeats,
        ),
        progress,
    )  # fmt: skip
    if bar:
        bar[0].close()
    sys.stdout.write(to_json(to_record(found)) + "\n" if options.json else to_text(found))
    if options.output:
        draw_plan(found, options.output, options.force)
        say(f"wrote {options.output}")
