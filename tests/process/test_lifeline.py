"""The pipe that ends a child with its parent: that of launchers is in test_launch.py."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dualnet.process.lifeline import Lifeline

INPUT = """
import time
from dualnet.process.lifeline import stop_at_end_of_input
from dualnet.process.stopping import Stopped, Stopper
stop_at_end_of_input()
try:
    with Stopper(60.0):
        print("runs", flush=True)
        time.sleep(600)
except Stopped as error:
    print(error)
"""


def test_end_of_input_is_a_signal(repository):
    piece = subprocess.Popen(
        [sys.executable, "-c", INPUT], cwd=repository, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    with piece:
        assert piece.stdout.readline() == "runs\n"
        piece.stdin.write("what is said there does not matter\n")
        piece.stdin.flush()
        piece.stdin.close()
        assert piece.stdout.read() == "ended by SIGTERM\n"
    assert piece.returncode == 0


#: In the place of the command: says what it was told, and when its input ends.
CHILD = """
import sys
print(*sys.argv[1:], flush=True)
print(repr(sys.stdin.read()))
"""


@pytest.fixture
def command(tmp_path, monkeypatch):
    """`python -m dualnet` is CHILD: it is looked for in the working directory first."""
    (tmp_path / "dualnet").mkdir()
    (tmp_path / "dualnet/__init__.py").write_text("")
    (tmp_path / "dualnet/__main__.py").write_text(CHILD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)


def test_input_of_every_child_ends_with_the_lifeline(command):
    with Lifeline() as lifeline:
        children = [
            lifeline.start([name, "CONFIG"], stdout=subprocess.PIPE, text=True)
            for name in ("net1", "net2")
        ]
        for name, child in zip(("net1", "net2"), children):
            assert child.stdout.readline() == f"{name} CONFIG --stop-at-eof\n"
            assert child.poll() is None
    for child in children:
        with child:
            assert child.stdout.read() == "''\n"
        assert child.returncode == 0
