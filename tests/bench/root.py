"""Where a slow link can be made: tests of it skip elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


def _may() -> bool:
    """Whether namespaces and virtual cards can be made here."""
    if os.geteuid() != 0 or not shutil.which("ip") or not os.access("/dev/net/tun", os.R_OK):
        return False
    name = f"dualnet-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode == 0
    subprocess.run(["ip", "netns", "del", name], capture_output=True)
    return made


needs_root = pytest.mark.skipif(not _may(), reason="needs root, iproute2 and /dev/net/tun")
