"""The command around what is run: signals before its first line and after its last."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from dualnet import cli
from dualnet.engine.errors import CaffeError
from dualnet.errors import ConfigError, UsageError
from dualnet.process.stopping import STOP_SIGNALS


@pytest.fixture(autouse=True)
def handlers():
    """Puts the handlers back that the command leaves."""
    before = {number: signal.getsignal(number) for number in (*STOP_SIGNALS, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_error_is_told(monkeypatch, capsys, number):
    told = []

    def say(line):
        told.append(line)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(cli, "say", say)
    # As the process's own command; what it does for its children is not meant here.
    monkeypatch.setattr(sys, "argv", ["dualnet", "evaluate", "nowhere"])
    monkeypatch.setattr(cli.children, "adopt", lambda: None)
    monkeypatch.setattr(cli.children, "watch_exit", lambda code, say: None)
    assert cli.main() == 128 + number
    assert len(told) == 1 and told[0].startswith("dualnet: nowhere")


IMPORTING = """
import os, runpy, signal, sys

class Finder:
    def find_spec(self, name, path, target=None):
        if name == "dualnet.cli":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
runpy.run_module("dualnet", run_name="__main__")
"""


def test_ctrl_c_while_all_is_imported_prints_no_traceback(repository):
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING], cwd=repository, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGINT
    assert done.stderr == ""


@pytest.mark.parametrize("kind", [ConfigError, UsageError, CaffeError])
@pytest.mark.parametrize(
    ("code", "expected"),
    [(errno.EIO, 74), (errno.ENOSPC, 74), (errno.EROFS, 74), (errno.ENOENT, 2), (errno.EACCES, 2)],
)
def test_a_failing_disk_is_no_wrong_configuration(monkeypatch, capsys, kind, code, expected):
    def run(options):
        try:
            raise OSError(code, os.strerror(code), "net.prototxt")
        except OSError as error:
            raise kind(f"net.prototxt: {error.strerror}") from error

    monkeypatch.setattr(
        cli, "_parser", lambda: SimpleNamespace(parse_args=lambda words: SimpleNamespace(run=run))
    )
    assert cli.main(["evaluate"]) == expected
    assert capsys.readouterr().err == f"dualnet: net.prototxt: {os.strerror(code)}\n"


def test_the_command_line_loads_no_library_that_reads_numbers_of_threads(repository):
    """A piece sets them (cores.py, pin) when its options are read; NumPy reads them as it loads."""
    code = "import sys, dualnet.cli; print([m for m in ('numpy', 'torch') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=str(repository), capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.stdout == "[]\n", done.stdout + done.stderr
