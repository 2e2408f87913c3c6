"""run_net.sh, run_net1.sh and run_net2.sh: what reaches the training process, and from where."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.scripts.shell import environment, program, run

#: A script and what comes before CONFIG, and the piece that they mean.
STARTS = [
    (("run_net1.sh",), "net1"),
    (("run_net2.sh",), "net2"),
    (("run_net.sh", "1"), "net1"),
    (("run_net.sh", "12"), "net12"),
]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "a folder" / "my config.yaml"
    path.parent.mkdir()
    path.write_text("name: x\n", encoding="utf-8")
    return path


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A stand-in for Python that tells how it was called."""
    body = """
[ "$1" = --version ] && { echo "Python 0"; exit; }
echo "pid=$$"; echo "cwd=$PWD"; echo "pythonpath=$PYTHONPATH"
for argument in "$@"; do echo "argument=$argument"; done
exit "${FAKE_EXIT:-0}"
"""
    return program(tmp_path / "fake python", body)


@pytest.mark.parametrize(("start", "piece"), STARTS)
def test_relative_paths_and_options_arrive_whole(
    start: tuple[str, ...], piece: str, repository: Path, config: Path, python: Path
) -> None:
    script, *number = start
    done = run(
        repository / "scripts" / script, *number, config.name, "run dir", "--set", "seed=2",
        cwd=config.parent, DUALNET_PYTHON=str(python), PYTHONPATH="/elsewhere",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    arguments = [line.split("=", 1)[1] for line in lines if line.startswith("argument=")]
    assert arguments == [
        "-m", "dualnet", piece, config.name, "--run-dir", "run dir", "--set", "seed=2",
    ]  # fmt: skip
    assert f"cwd={config.parent}" in lines
    assert f"pythonpath={repository}:/elsewhere" in lines
    assert (config.parent / "run dir").is_dir()


def test_a_relative_python_is_found(
    repository: Path, config: Path, python: Path, tmp_path: Path
) -> None:
    script = repository / "scripts/run_net1.sh"
    done = run(script, str(config), "r", cwd=tmp_path, DUALNET_PYTHON="./fake python")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("start", "piece"), STARTS)
def test_the_exit_code_is_the_training_process_s(
    start: tuple[str, ...], piece: str, repository: Path, config: Path, python: Path
) -> None:
    script, *number = start
    done = run(
        repository / "scripts" / script, *number, str(config), str(config.parent / "r"),
        DUALNET_PYTHON=str(python), FAKE_EXIT="74",
    )  # fmt: skip
    assert done.returncode == 74


def test_the_training_process_has_the_script_s_pid_and_gets_its_signals(
    repository: Path, config: Path, tmp_path: Path
) -> None:
    body = """
[ "$1" = --version ] && exit
trap "exit 41" TERM
echo $$
while :; do sleep 0.1; done
"""
    waiting = program(tmp_path / "waiting", body)
    with subprocess.Popen(
        [str(repository / "scripts/run_net1.sh"), str(config), str(tmp_path / "r")],
        env=environment(DUALNET_PYTHON=str(waiting)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 41


def test_a_scheduler_s_copy_finds_the_repository(
    repository: Path, config: Path, python: Path, tmp_path: Path
) -> None:
    # sbatch runs a copy named slurm_script from its spool folder.
    spool = tmp_path / "spool"
    spool.mkdir()
    for start, piece in STARTS[1:]:
        script, *number = start
        copy = shutil.copy(repository / "scripts" / script, spool / "slurm_script")
        arguments = [*number, str(config), str(tmp_path / "r")]
        for variable in ("SLURM_SUBMIT_DIR", "PBS_O_WORKDIR", "DUALNET_HOME"):
            variables = {variable: str(repository), "DUALNET_PYTHON": str(python)}
            done = run(Path(copy), *arguments, cwd=spool, **variables)
            assert done.returncode == 0, done.stderr
            assert f"argument={piece}" in done.stdout.splitlines()
    lost = run(Path(copy), *arguments, cwd=spool, DUALNET_PYTHON=str(python))
    assert lost.returncode == 2 and "DUALNET_HOME" in lost.stderr


@pytest.mark.parametrize(
    "arguments", [(), ("only.yaml",), ("--set", "a=b"), ("c.yaml", "--resume")]
)
def test_missing_arguments_are_a_usage_error(arguments: tuple, repository: Path) -> None:
    done = run(repository / "scripts/run_net1.sh", *arguments)
    assert done.returncode == 2
    assert "Usage: scripts/run_net1.sh CONFIG RUN_DIR" in done.stderr
    done = run(repository / "scripts/run_net.sh", "3", *arguments)
    assert done.returncode == 2
    assert "Usage: scripts/run_net.sh K CONFIG RUN_DIR" in done.stderr


@pytest.mark.parametrize("number", ["0", "net3", "-1", "", "1 2", "03"])
def test_a_number_that_no_piece_can_have(number: str, repository: Path, config: Path) -> None:
    done = run(repository / "scripts/run_net.sh", number, str(config), "r")
    assert done.returncode == 2 and "needs K, the number of a piece from 1" in done.stderr


def test_errors_name_the_file_and_the_python(
    repository: Path, config: Path, tmp_path: Path
) -> None:
    script = repository / "scripts/run_net1.sh"
    absent = run(script, "absent.yaml", "r", cwd=tmp_path)
    assert absent.returncode == 2
    assert "'absent.yaml'" in absent.stderr and str(tmp_path) in absent.stderr
    no_python = run(script, str(config), str(tmp_path / "r"), DUALNET_PYTHON="/no/python")
    assert no_python.returncode == 2 and "'/no/python'" in no_python.stderr


def test_an_unwritable_run_directory_is_named(repository: Path, config: Path) -> None:
    done = run(repository / "scripts/run_net1.sh", str(config), "/proc/no")
    assert done.returncode == 2 and "'/proc/no'" in done.stderr
