"""`dualnet evaluate|status|runs|digest|plot|curves`: the commands that read runs."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from typing import Any

from dualnet.api.results import Run
from dualnet.cli.terminal import say
from dualnet.rundir import RunDir
from dualnet.strict_json import to_json

__all__ = ["add"]

_LATEST = "default: the latest run in runs/"


def add(commands: Any) -> None:
    """Add the commands to the parser."""

    def make(name: str, run: Any, summary: str) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = commands.add_parser(
            name, help=summary, description=summary
        )
        command.set_defaults(run=run)
        return command

    command = make("evaluate", _evaluate, "print a run's accuracy on its test set as one JSON line")
    command.add_argument("run_dir", metavar="RUN_DIR", nargs="?", help=_LATEST)
    command.add_argument("--iteration", type=int, help="a snapshot's iteration (default: latest)")
    command.add_argument("--batches", type=int, help="test batches (default: the test_iter)")
    command = make("status", _status, "say what a run is doing, whatever state it is in")
    command.add_argument("run_dir", metavar="RUN_DIR", nargs="?", help=_LATEST)
    command.add_argument("--json", action="store_true", help="as one JSON line")
    command.add_argument(
        "--watch", type=_seconds, nargs="?", const=2.0, metavar="SECONDS",
        help="again and again until Ctrl-C, every 2 s or as given",
    )  # fmt: skip
    _add_runs(make("runs", _runs, "compare the runs below a directory, or show one at length"))
    command = make("digest", _digest, "print the SHA-256 over a run's weights and solver history")
    command.add_argument("run_dir", metavar="RUN_DIR")
    command.add_argument("--iteration", type=int, help="a snapshot's iteration (default: latest)")
    command = make("plot", _plot, "draw the loss that counts and the test accuracy of runs")
    command.add_argument("run_dirs", nargs="*", metavar="RUN_DIR", help=_LATEST)
    command.add_argument("-o", "--output", required=True, metavar="FILE", help="PNG, SVG or PDF")
    command.add_argument(
        "--series", action="append", default=[], metavar="NAME",
        help="draw a further series of the logs, as conv3_norm or net1:conv3_norm; repeatable",
    )  # fmt: skip
    command.add_argument(
        "--x", choices=("iteration", "time"), default="iteration",
        help="what the curves are over; time is that of the training, without pauses",
    )  # fmt: skip
    command.add_argument("--smooth", type=int, metavar="N", help="moving average over N points")
    command.add_argument("--log", action="store_true", help="logarithmic losses")
    command.add_argument("--title", help="above the figure (default: what all the runs are)")
    command = make("curves", _curves, "write all series of runs as one CSV file")
    command.add_argument("run_dirs", nargs="+", metavar="RUN_DIR")
    command.add_argument("-o", "--output", metavar="FILE", help="default: standard output")


def _add_runs(command: argparse.ArgumentParser) -> None:
    command.add_argument("directory", metavar="DIR", nargs="?", default="runs",
                         help="where they are, or a run (default: runs)")  # fmt: skip
    command.add_argument(
        "--sort", metavar="KEY", default="",
        help="by run, began, state, iteration, loss, accuracy, best, time, speed or a setting, "
             "the best first (default: run)",
    )  # fmt: skip
    command.add_argument("--reverse", action="store_true", help="the other way round")
    command.add_argument(
        "--where", action="append", default=[], metavar="KEY=VALUE",
        help="only runs with this state or setting, as target=gradient; may be repeated",
    )  # fmt: skip
    command.add_argument("--json", action="store_true", help="as JSON lines, one a run")


def _seconds(text: str) -> float:
    """A time between two looks, for argparse."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = float("nan")
    if not 0.1 <= seconds <= 86400.0:
        raise argparse.ArgumentTypeError(
            f"{text}: 0.1 to 86400 seconds are possible (name RUN_DIR before --watch)"
        )
    return seconds


def _asked_for(options: argparse.Namespace) -> RunDir:
    return RunDir(options.run_dir) if options.run_dir is not None else _latest()


def _latest() -> RunDir:
    """The run that was started last, named for the user."""
    from dualnet.report.compare.listing import latest_run

    run = latest_run("runs")
    say(f"{run} is the latest run")
    return run


def _evaluate(options: argparse.Namespace) -> None:
    from dualnet.training.start.progress import ProgressBar

    run = _asked_for(options)
    bar: list[ProgressBar] = []

    def progress(done: int, total: int) -> None:
        if not bar:
            bar.append(ProgressBar(total))
        bar[0].update(done, {})

    result = Run(run.path).evaluate(options.iteration, options.batches, progress)
    bar[0].close()
    print(to_json(result))


def _status(options: argparse.Namespace) -> None:
    from dualnet.report.status import require_run, status
    from dualnet.report.status_text import describe

    run = _asked_for(options)
    require_run(run)
    while True:
        found = status(run)
        text = to_json(found.to_dict()) + "\n" if options.json else describe(found)
        if options.watch is not None and not options.json and sys.stdout.isatty():
            text = f"\033[H\033[J{text}"  # the same place on the screen
        sys.stdout.write(text)
        sys.stdout.flush()
        if options.watch is None:
            return
        time.sleep(options.watch)


def _runs(options: argparse.Namespace) -> None:
    from dualnet.report.compare.listing import list_runs
    from dualnet.report.compare.selection import select
    from dualnet.report.compare.text import to_table, to_text

    listed = list_runs(options.directory)
    found = select(listed, options.where, options.sort, options.reverse)
    if options.json:
        sys.stdout.write("".join(f"{to_json(one.to_dict())}\n" for one in found))
    elif [one.run_dir for one in listed] == [options.directory]:
        sys.stdout.write("".join(map(to_text, found)))
    else:
        is_terminal = sys.stdout.isatty()  # elsewhere lines may be as long as they are
        sys.stdout.write(
            to_table(found, shutil.get_terminal_size().columns if is_terminal else None)
        )


def _digest(options: argparse.Namespace) -> None:
    print(Run(options.run_dir).digest(options.iteration))


def _plot(options: argparse.Namespace) -> None:
    from dualnet.report.plot import plot_runs

    plot_runs(
        options.run_dirs or [_latest().path],
        options.output,
        smooth=options.smooth,
        log_scale=options.log or None,
        series=options.series,
        title=options.title,
        x=options.x,
    )
    say(f"wrote {options.output}")


def _curves(options: argparse.Namespace) -> None:
    from dualnet.report.csv_file import to_csv, write_csv

    if options.output is None:
        sys.stdout.write(to_csv(options.run_dirs))
        return
    write_csv(options.run_dirs, options.output)
    say(f"wrote {options.output}")
