"""compare_wheels.py: what two wheels and the repository do not have in common."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from scripts import compare_wheels
from tests.scripts.shell import run

SCRIPT = Path(compare_wheels.__file__)


@pytest.fixture
def wheels(tmp_path, repository):
    """Writes two wheels that are as they should be, but for what a test changes."""
    right = {**compare_wheels.expected(repository), "dualnet-0.1.dist-info/METADATA": b"x"}

    def write(one=None, other=None):
        paths = []
        for name, changes in (("one", one), ("other", other)):
            paths.append(str(tmp_path / f"{name}.whl"))
            with zipfile.ZipFile(paths[-1], "w") as wheel:
                for file, content in {**right, **(changes or {})}.items():
                    if content is not None:
                        wheel.writestr(file, content)
        return run(SCRIPT, *paths, str(repository))

    return write


def test_equal_and_complete_wheels(wheels):
    done = wheels()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(" files, 0 problems\n")


CONFIG = "dualnet/_shipped/configs/digits.yaml"
OLD = {"dualnet/old.py": b""}


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ({"dualnet/errors.py": b""}, None, "differs: dualnet/errors.py"),
        ({CONFIG: None}, {CONFIG: None}, f"not in the wheel as it is here: {CONFIG}"),
        ({CONFIG: b"?"}, {CONFIG: b"?"}, f"not in the wheel as it is here: {CONFIG}"),
        (OLD, OLD, "in the wheel, and not here: dualnet/old.py"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(wheels, one, other, said):
    done = wheels(one, other)
    assert done.returncode == 1
    assert said in done.stdout.splitlines()
