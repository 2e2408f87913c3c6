"""A fixture that runs the programs of BVLC Caffe: convert_imageset, compute_image_mean."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def tool(bvlc_python, tmp_path):
    """Runs a program of the tree that scripts/install_caffe.sh made."""
    root = Path(bvlc_python).parent.parent / "root"
    lib = root / "usr/lib/x86_64-linux-gnu"
    paths = [lib / "openblas-pthread", root / "lib/x86_64-linux-gnu", lib, root / "usr/lib"]
    loader = [root / "lib/x86_64-linux-gnu/ld-2.31.so", "--library-path", ":".join(map(str, paths))]

    def run(name, *arguments):
        if not (root / "usr/bin" / name).exists():
            pytest.skip(f"no {name} beside {bvlc_python}")
        done = subprocess.run(
            [*map(str, loader), str(root / "usr/bin" / name), *map(str, arguments)],
            capture_output=True, text=True, timeout=120, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done

    return run
