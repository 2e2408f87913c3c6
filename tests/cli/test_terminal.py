"""What is said while nobody can hear it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dualnet.cli.terminal import say
from dualnet.training.start.progress import ProgressBar


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /dev/full")
def test_a_full_disk_below_standard_error_does_not_change_the_exit_code(repository):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "dualnet", "digest", "nowhere"], cwd=repository, stderr=full
        )
    assert done.returncode == 2


class Full:
    """A stream that takes nothing."""

    def isatty(self):
        return False

    def write(self, text):
        raise OSError(28, "No space left on device")

    flush = close = isatty


def test_neither_words_nor_progress_are_an_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Full())
    say("nobody hears this")
    bar = ProgressBar(3)
    bar.update(3, {"loss": "1"})
    bar.close()


#: A command that is stopped, and signalled once more while the interpreter ends.
STOPPED = """
import atexit, os, signal, sys
from dualnet import cli
def stop(*_): os.kill(os.getpid(), signal.SIGTERM)
atexit.register(stop)
cli.runs._digest = stop
sys.exit(cli.main(["digest", "run"]))
"""


def test_a_signal_at_the_very_end_changes_nothing(repository):
    done = subprocess.run(
        [sys.executable, "-c", STOPPED], cwd=repository, stderr=subprocess.PIPE, text=True
    )
    assert (done.returncode, done.stderr) == (143, "dualnet: ended by SIGTERM\n")
