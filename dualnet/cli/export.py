"""`dualnet export`: a trained net for PyTorch and ONNX Runtime."""

from __future__ import annotations

import argparse
from typing import Any

from dualnet.api.results import Run
from dualnet.cli.cut import parse_shape
from dualnet.cli.terminal import say
from dualnet.errors import UsageError
from dualnet.strict_json import to_json

__all__ = ["add"]

EXAMPLES = """examples:
  dualnet export runs/a -o digits.pt2                 for torch.export.load
  dualnet export runs/a -o digits.onnx                for ONNX Runtime; pip install 'dualnet[onnx]'
  dualnet export runs/a -o early.pt2 --iteration 1000 --dual net1
  dualnet export runs/a -o a.pt2 --shape data=3,32,32  where the data set is not
  dualnet export --describe digits.pt2                 its inputs, preprocessing and classes
The file is loaded again and must give the engine's scores, within 1e-5, before it gets its name.
"""


def add(commands: Any) -> None:
    """Add the command to the parser."""
    summary = "write what a run has trained as a PyTorch exported program (.pt2) or as ONNX"
    command = commands.add_parser(
        "export", help=summary, description=summary,
        formatter_class=argparse.RawDescriptionHelpFormatter, epilog=EXAMPLES,
    )  # fmt: skip
    command.set_defaults(run=_export)
    command.add_argument("run_dir", metavar="RUN_DIR", nargs="?")
    command.add_argument("-o", "--output", metavar="FILE", help="model.pt2 or model.onnx")
    command.add_argument(
        "--dual", choices=("upper", "lower", "net2", "net1"), default="upper",
        help="whose dual layers beside each cut (default: the upper piece's; see dualnet merge)",
    )  # fmt: skip
    command.add_argument("--iteration", type=int, help="a snapshot's iteration (default: latest)")
    command.add_argument(
        "--batches", type=int, default=3, metavar="N",
        help="test batches that it is tried on (default: 3)",
    )  # fmt: skip
    command.add_argument(
        "--shape", action="append", default=[], metavar="BLOB=C,H,W",
        help="one sample of a data layer whose data is not on this machine; random numbers are "
        "tried then",
    )  # fmt: skip
    command.add_argument("--force", action="store_true", help="replace what is there")
    command.add_argument(
        "--describe", metavar="FILE", help="print what is recorded in an exported file, as JSON"
    )


def _export(options: argparse.Namespace) -> None:
    if options.describe is not None:
        _describe(options)
        return
    if options.run_dir is None or options.output is None:
        raise UsageError("dualnet export needs RUN_DIR and -o FILE, or --describe FILE")
    given = dict(parse_shape(text) for text in options.shape)
    made = Run(options.run_dir).export(
        options.output, options.dual, options.iteration, given, options.batches, options.force
    )
    kind = "test samples" if made.is_data else "random samples"
    say(
        f"wrote {made.path}: the largest difference from the engine's scores is "
        f"{made.difference:.2g} on {made.samples} {kind}"
    )


def _describe(options: argparse.Namespace) -> None:
    if options.run_dir is not None or options.output is not None:
        raise UsageError("--describe FILE stands alone: leave out RUN_DIR and -o")
    from dualnet.report.exported import describe

    print(to_json(describe(options.describe), indent=1))
