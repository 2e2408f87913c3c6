"""install_caffe.sh: what it refuses, what it keeps, what it leaves behind; and what it made."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tests.scripts.shell import environment, program, run

UNAVAILABLE = 69
needs_apt = pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt-get here")


@pytest.fixture
def script(repository: Path) -> Path:
    return repository / "scripts/install_caffe.sh"


@pytest.fixture
def no_apt(tmp_path: Path) -> Path:
    """A PATH with what the script needs before it asks for apt, and no apt."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ["bash", "cat", "dirname", "flock", "ls", "mkdir", "realpath", "rm"]:
        (tools / name).symlink_to(str(shutil.which(name)))
    return tools


def test_without_apt_it_says_what_to_use_instead(
    script: Path, no_apt: Path, tmp_path: Path
) -> None:
    done = run(script, str(tmp_path / "caffe"), PATH=str(no_apt))
    assert done.returncode == UNAVAILABLE
    assert "no apt-get" in done.stderr
    assert "engine" in done.stderr and "Containerfile" in done.stderr
    assert not (tmp_path / "caffe").exists() and not (tmp_path / "caffe.tmp").exists()


@needs_apt
def test_an_unreachable_mirror_is_named_and_leaves_nothing(script: Path, tmp_path: Path) -> None:
    # Bound but not listening: a connection is refused at once.
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        mirror = f"http://127.0.0.1:{bound.getsockname()[1]}/debian"
        done = run(script, "--mirror", mirror, str(tmp_path / "caffe"))
    assert done.returncode == UNAVAILABLE, done.stderr
    assert mirror in done.stdout and "--mirror" in done.stderr
    assert list(tmp_path.iterdir()) == []


@needs_apt
def test_an_interrupted_run_leaves_nothing(script: Path, tmp_path: Path) -> None:
    # A mirror that accepts and never answers.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connected = threading.Event()

        def accept() -> None:
            connection, _ = silent.accept()
            connected.set()
            with connection:
                connection.recv(1)
                stop.wait()

        stop = threading.Event()
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        mirror = f"http://127.0.0.1:{silent.getsockname()[1]}/debian"
        process = subprocess.Popen(
            [str(script), "--mirror", mirror, str(tmp_path / "caffe")],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert connected.wait(60)
        assert (tmp_path / "caffe.tmp").is_dir()
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) == 130
        stop.set()
        thread.join()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_somebody_else_s_is_left_alone(script: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    done = run(script, "--force", str(tmp_path))
    assert done.returncode == 2 and str(tmp_path) in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_folder_that_the_loader_could_not_read_is_refused(script: Path, tmp_path: Path) -> None:
    done = run(script, str(tmp_path / "a:b"))
    assert done.returncode == 2 and "':'" in done.stderr


def test_two_folders_are_one_too_many(script: Path, tmp_path: Path) -> None:
    done = run(script, str(tmp_path / "a"), str(tmp_path / "b"))
    assert done.returncode == 2 and str(tmp_path / "b") in done.stderr


def test_a_whole_installation_is_kept_and_a_broken_one_is_not(
    script: Path, repository: Path, no_apt: Path, tmp_path: Path
) -> None:
    # Without apt, it can only succeed by finding DIR whole.
    target = tmp_path / "caffe"
    python = program(target / "bin/python", "exit 0\n")
    marker = target / "share/dualnet-caffe"
    marker.parent.mkdir()
    marker.write_text("recipe 0, of an older script", encoding="utf-8")
    assert run(script, str(target), PATH=str(no_apt)).returncode == UNAVAILABLE
    source = script.read_text(encoding="utf-8")
    marker.write_text(_recipe(source, repository), encoding="utf-8")
    done = run(script, str(target), PATH=str(no_apt))
    assert done.returncode == 0, done.stderr
    assert "up to date" in done.stdout and str(python) in done.stdout
    program(python, "exit 1\n")
    assert run(script, str(target), PATH=str(no_apt)).returncode == UNAVAILABLE


def _recipe(source: str, repository: Path) -> str:
    """Evaluate the script's own definitions to get the line that marks a finished DIR."""
    body = source[source.index("suite=") : source.index("name=${0##*/}")]
    line = next(line for line in source.splitlines() if line.startswith("wanted="))
    shell = f'{body}\nexamples=yes\nrepository="$1"\n{line}\necho "$wanted"'
    command = ["bash", "-c", shell, "bash", str(repository)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


# --- What it made. -------------------------------------------------------------------------------


def _in_bvlc(python: str, code: str, **variables: str) -> str:
    return subprocess.run(
        [python, "-c", code],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(**variables),
    ).stdout


@pytest.mark.bvlc
def test_a_child_started_by_sys_executable_has_caffe_too(bvlc_python: str) -> None:
    code = """
import subprocess, sys
child = "import sys, caffe; print(sys.executable, len(caffe.layer_type_list()))"
for flags in ([], ["-I"]):
    subprocess.run([sys.executable, *flags, "-c", child], check=True)
"""
    # A PYTHONHOME of some other Python must not confuse it.
    lines = _in_bvlc(bvlc_python, code, PYTHONHOME="/nowhere").splitlines()
    assert lines == [f"{bvlc_python} 61"] * 2


@pytest.mark.bvlc
def test_spawned_workers_have_caffe_too(bvlc_python: str) -> None:
    code = """
import multiprocessing
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(eval, ("__import__('caffe').__version__",)))
"""
    assert _in_bvlc(bvlc_python, code) == "1.0.0\n"


@pytest.mark.bvlc
def test_nothing_but_the_path_s_end_changes_for_other_programs(bvlc_python: str) -> None:
    code = """
import json, subprocess
print(subprocess.run(["python3", "-c", "import json, os; print(json.dumps(dict(os.environ)))"],
                     check=True, stdout=subprocess.PIPE).stdout.decode())
"""
    seen = json.loads(_in_bvlc(bvlc_python, code))
    before = environment()
    for ours in ("PWD", "SHLVL", "_", "OLDPWD", "LC_CTYPE"):  # any shell's and any Python's doing
        seen.pop(ours, None), before.pop(ours, None)
    path = seen.pop("PATH")
    tools = str(Path(bvlc_python).parent.parent / "tools")
    # A pyenv shim puts its own folder first; what matters is what we add.
    assert path.endswith(before.pop("PATH") + os.pathsep + tools)
    assert os.listdir(tools) == ["dot"]
    changed = {name for name in seen if before.get(name) != seen[name] and "PYENV" not in name}
    assert changed == set()


@pytest.mark.bvlc
def test_it_may_be_started_by_a_link_and_draws(bvlc_python: str, tmp_path: Path) -> None:
    link = tmp_path / "my python"
    link.symlink_to(bvlc_python)
    code = """
import sys, matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as pyplot
pyplot.plot([1, 2])
pyplot.savefig(sys.argv[1] if len(sys.argv) > 1 else "loss.png")
print(sys.executable)
"""
    done = subprocess.run(
        [str(link), "-c", code],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(MPLCONFIGDIR=str(tmp_path)),
    )
    assert done.stdout == f"{bvlc_python}\n"
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.bvlc
def test_caffe_s_own_tests_pass_in_it(bvlc_python: str, tmp_path: Path) -> None:
    tests = Path(bvlc_python).parent.parent / "share" / "caffe-tests"
    if not tests.exists():
        pytest.skip("installed with --no-examples")
    done = subprocess.run(
        [bvlc_python, "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider", "."],
        cwd=tests,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert done.returncode == 0, done.stdout
    assert "52 passed" in done.stdout


@pytest.mark.bvlc
def test_the_repository_s_dualnet_is_importable_from_anywhere(
    bvlc_python: str, repository: Path
) -> None:
    code = "import os; os.chdir('/'); import dualnet; print(dualnet.__file__)"
    assert _in_bvlc(bvlc_python, code).strip() == str(repository / "dualnet/__init__.py")
