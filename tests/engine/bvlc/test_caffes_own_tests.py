"""Caffe's own Python tests, unmodified, on the engine: the gate for the interface."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.bvlc

FILES = {
    "interface": [
        "test_coord_map.py", "test_io.py", "test_layer_type_list.py", "test_nccl.py", "test_net.py",
        "test_net_spec.py", "test_python_layer.py", "test_python_layer_with_param_str.py",
        "test_solver.py",
    ],
    "draw": ["test_draw.py"],
}  # fmt: skip


@pytest.fixture(scope="module")
def caffe_tests(bvlc_python):
    """The folder of Caffe's tests, beside its models and examples, which test_draw draws."""
    folder = Path(bvlc_python).parent.parent / "share" / "caffe-tests"
    if not folder.is_dir():
        pytest.skip(f"no {folder}: the real Caffe was not installed by scripts/install_caffe.sh")
    pytest.importorskip("six")  # the tests import it
    return folder.resolve()


@pytest.mark.parametrize("part", FILES)
def test_files_pass(caffe_tests, repository, tmp_path, part):
    environment = dict(os.environ)
    if part == "draw":
        pytest.importorskip("pydot")
        tools = caffe_tests.parents[3].parent / "tools"  # graphviz, for machines without
        environment["PATH"] = os.pathsep.join([environment.get("PATH", os.defpath), str(tools)])
    paths = [str(repository), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    environment["OMP_NUM_THREADS"] = "1"
    done = subprocess.run(
        [
            sys.executable, "-m", "dualnet.engine", "-m", "pytest", "-q", "-c", os.devnull,
            "-p", "no:cacheprovider", "-p", "tests.engine.bvlc.old_unittest",
            "--basetemp", str(tmp_path / "inner"), *FILES[part],
        ],
        cwd=caffe_tests, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout


def test_no_file_is_forgotten(caffe_tests):
    assert sorted(path.name for path in caffe_tests.glob("test_*.py")) == sorted(
        sum(FILES.values(), [])
    )
