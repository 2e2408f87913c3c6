#!/usr/bin/env python3
"""Draw training losses and test accuracy from the logs of one or several runs.

Examples:

  The pieces of a run, and the single net for comparison:
      scripts/plot_losses.py runs/dual runs/single -o losses.png

  Logs of BVLC Caffe, as `caffe train` writes them to stderr:
      scripts/plot_losses.py train.log -o train.svg

  A further series of the log, a wider average, and tables for a spreadsheet:
      scripts/plot_losses.py runs/dual -o dual.pdf --series net1:norm --smooth 50 --csv
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

# Run from a checkout, without an installation, as well.
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir))

from dualnet.errors import DualnetError
from dualnet.report.plot import X_AXES, plot_runs
from dualnet.report.runs import read_runs
from dualnet.report.table import write_tables


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="plot_losses.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths",
        metavar="LOG_OR_RUN_DIR",
        nargs="+",
        help="a run directory with net1.log to netK.log or single.log in it, or any log of Caffe's",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", required=True, help="the figure: .png, .svg or .pdf"
    )
    parser.add_argument(
        "--series",
        metavar="NAME",
        action="append",
        default=[],
        help="a further panel: an output of the log by name, as norm, net1:norm or test:loss; "
        "may be given several times",
    )
    parser.add_argument(
        "--smooth",
        metavar="N",
        type=_positive,
        help="average over N logged values; 1 for none (default: a thirtieth of the curve)",
    )
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument(
        "--log",
        dest="log_scale",
        action="store_const",
        const=True,
        help="logarithmic axes for all losses (default: for those that span a factor of 100)",
    )
    scale.add_argument(
        "--linear",
        dest="log_scale",
        action="store_const",
        const=False,
        help="linear axes for all losses",
    )
    parser.add_argument(
        "--x",
        choices=X_AXES,
        default="iteration",
        help="what the curves are over; time is that of the training, without pauses",
    )
    parser.add_argument("--title", help="a line above the figure")
    parser.add_argument(
        "--csv",
        action="store_true",
        help="also write each log's tables, LOG.train and LOG.test, beside it",
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Of the command line; by default those of the process.

    Returns:
        The exit code.
    """
    options = _parser().parse_args(arguments)
    try:
        plot_runs(
            options.paths,
            options.output,
            smooth=options.smooth,
            log_scale=options.log_scale,
            series=options.series,
            title=options.title,
            x=options.x,
        )
        print(f"wrote {options.output}")
        if options.csv:
            for run in read_runs(options.paths):
                for log in run.logs.values():
                    print("wrote " + ", ".join(str(path) for path in write_tables(log)))
    except DualnetError as error:
        print(f"plot_losses.py: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
