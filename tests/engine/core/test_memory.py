"""Freed blocks stay with the process, unless the user decides on malloc."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Page faults of the fourth to thirteenth use of a block of 64 MiB, which the C library maps
# again each time unless mallopt is called. 64 MiB are 16384 pages.
PROGRAM = """
import resource, sys
import numpy
from dualnet.engine.core.memory import keep_freed_blocks
kept = keep_freed_blocks()
for step in range(13):
    if step == 3:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    numpy.empty(2**26, numpy.uint8)[::4096] = 1
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


# Arenas of threads other than the first cannot hold more than 64 MiB.
THREAD = """
import threading
import numpy
from dualnet.engine.core.memory import keep_freed_blocks
kept, sums = keep_freed_blocks(), []
thread = threading.Thread(target=lambda: sums.append(int(numpy.ones(2**27, numpy.uint8).sum())))
thread.start()
thread.join()
print(kept, sums[0])
"""


def run(repository, program=PROGRAM, **settings):
    """What a program prints: whether `keep_freed_blocks` works here, and a number."""
    unset = ("GLIBC_TUNABLES",)
    clean = {k: v for k, v in os.environ.items() if k[:7] != "MALLOC_" and k not in unset}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**clean, "PYTHONPATH": str(repository), **settings},
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    kept, number = done.stdout.split()
    return kept == "True", int(number)


def test_large_blocks_are_used_again_without_page_faults(repository):
    kept, faults = run(repository)
    if not kept:
        pytest.skip("not the GNU C library")
    assert faults < 1000


def test_the_users_setting_wins(repository):
    assert run(repository, MALLOC_ARENA_MAX="2")[0] is False
    assert run(repository, GLIBC_TUNABLES="glibc.malloc.arena_max=2")[0] is False


def test_threads_get_blocks_larger_than_their_arenas(repository):
    assert run(repository, THREAD)[1] == 2**27
