"""Every script explains itself, and refuses what it does not know."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.scripts.shell import run

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCED = {"environment.sh", "python.sh", "run_piece.sh"}
SCRIPTS = sorted(p for p in ROOT.glob("scripts/*.sh") if p.name not in SOURCED)
SCRIPTS += [ROOT / ".ci" / "run", ROOT / "scripts" / "pin_requirements.py"]
SCRIPTS += [ROOT / "scripts" / "compare_wheels.py"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_the_usage_and_does_nothing(script: Path, flag: str, tmp_path: Path) -> None:
    done = run(script, flag, cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    assert "usage:" in done.stdout.lower()
    if script.suffix != ".py":
        assert "Examples:" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["scripts/install_caffe.sh", "scripts/generate_proto.sh", "scripts/check_wheel.sh", ".ci/run"],
)
def test_an_unknown_option_is_a_usage_error(name: str) -> None:
    done = run(ROOT / name, "--nonsense")
    assert done.returncode == 2
    assert "'--nonsense'" in done.stderr and "--help" in done.stderr


@pytest.mark.parametrize("path", sorted(ROOT.glob("scripts/*.sh")), ids=lambda path: path.name)
def test_the_shell_can_parse_it(path: Path) -> None:
    subprocess.run(["bash", "-n", str(path)], check=True)
