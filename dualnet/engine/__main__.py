"""Runs a pycaffe program on the engine.

python -m dualnet.engine SCRIPT ARGS…
python -m dualnet.engine -m MODULE ARGS…
"""

from __future__ import annotations

import os
import runpy
import sys

from dualnet.engine import register

_USAGE = "usage: python -m dualnet.engine SCRIPT ARGS… | -m MODULE ARGS…"


def main(arguments: list[str]) -> None:
    """Runs a script or module as `python` would, with `caffe` registered.

    Args:
        arguments: the command line after `python -m dualnet.engine`.
    """
    if not arguments or arguments == ["-m"] or arguments[0] in ("-h", "--help"):
        sys.exit(_USAGE)
    register()
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path[0] = os.getcwd()
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
