"""The batch scripts, with stand-ins for srun and scontrol."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.scripts.shell import environment, program, run

ROOT = Path(__file__).resolve().parents[2]
JOBS = ["two_nodes", "net1", "net2"]

SRUN = r"""
# Runs the command twice, as two tasks; passes signals on; the highest exit code is its own.
while [ "${1#--}" != "$1" ]; do echo "srun $1" >>"$FAKE_LOG"; shift; done
for rank in 0 1; do SLURM_PROCID=$rank "$@" & pids="${pids:-} $!"; done
trap 'kill -USR1 $pids' USR1
worst=0
for pid in $pids; do
  while :; do
    code=0; wait "$pid" || code=$?
    kill -0 "$pid" 2>/dev/null || break
  done
  [ "$code" -gt "$worst" ] && worst=$code
done
exit "$worst"
"""
SCONTROL = r"""
echo "scontrol $*" >>"$FAKE_LOG"
[ "$1" = show ] && echo "   JobState=${FAKE_STATE:-RUNNING} Reason=None"
exit 0
"""
PYTHON = r"""
[ "$1" = --version ] && { echo "Python 0"; exit; }
echo "python $*" >>"$FAKE_LOG"
case " $FAKE_DONE " in *" $3 "*) echo "$FAKE_WORDS" | sed "s/ROLE/$3/" >&2 ;; esac
[ "$FAKE_EXIT" = wait ] || exit "$FAKE_EXIT"
trap 'echo "stopped $3" >>"$FAKE_LOG"; exit 0' USR1
echo "waiting" >>"$FAKE_LOG"
for _ in $(seq 600); do sleep 0.05; done
exit 99
"""


class Cluster:
    """A scheduler of stand-ins."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "calls"
        self.log.write_text("")
        self.run_dir = folder / "a run"
        self.config = folder / "config.yaml"
        self.config.write_text("name: x\n")
        for name, body in (("srun", SRUN), ("scontrol", SCONTROL)):
            program(folder / "bin" / name, body)
        self.variables = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "FAKE_LOG": str(self.log),
            "FAKE_EXIT": "0",
            "FAKE_DONE": "",
            "FAKE_WORDS": "trained ROLE to iteration 9, test accuracy 0.9",
            "DUALNET_PYTHON": str(program(folder / "python", PYTHON)),
            "SLURM_SUBMIT_DIR": str(ROOT),
            "SLURM_JOB_ID": "4711",
        }

    def script(self, job: str) -> Path:
        """A copy in a spool folder, which is what sbatch runs."""
        spool = self.log.parent / "spool" / "slurm_script"
        spool.parent.mkdir(exist_ok=True)
        spool.write_bytes((ROOT / f"scripts/slurm/{job}.sbatch").read_bytes())
        spool.chmod(0o755)
        return spool

    def run(self, job: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a job to its end."""
        return run(
            self.script(job), str(self.config), str(self.run_dir), *options,
            **{**self.variables, **variables},
        )  # fmt: skip

    def start(self, job: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start a job."""
        return subprocess.Popen(
            [str(self.script(job)), *arguments],
            env=environment(**{**self.variables, **variables}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def calls(self, of: str) -> list[str]:
        """What a stand-in was called with."""
        return [line for line in self.log.read_text().splitlines() if line.startswith(of)]

    @property
    def requeues(self) -> int:
        return len(self.calls("scontrol requeue 4711"))

    def complete(self, *halves: str) -> None:
        """From now on these halves say that nothing is left to do."""
        self.variables["FAKE_DONE"] = " ".join(halves)

    def leave_records(self, *halves: str) -> None:
        """Leave the records of an earlier end."""
        self.run_dir.mkdir(exist_ok=True)
        for half in halves:
            record = {"complete": True, "role": half}
            path = self.run_dir / f"{half}_iter_9.checkpoint.json"
            path.write_text(json.dumps(record, indent=1))


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def test_each_task_is_a_half_on_what_the_scheduler_gave_it(cluster: Cluster) -> None:
    cluster.complete("net1", "net2")
    done = cluster.run(
        "two_nodes", "--set", "seed=2", SLURM_GPUS_ON_NODE="1", SLURM_CPUS_PER_TASK="3"
    )
    assert done.returncode == 0, done.stderr
    for half in ("net1", "net2"):
        (call,) = cluster.calls(f"python -m dualnet {half}")
        assert call.split(str(cluster.run_dir))[1] == (
            f" --set {half}.device=0 --set {half}.threads=3 --set seed=2"
        )
    assert {"srun --ntasks=2", "srun --nodes=2"} <= set(cluster.calls("srun"))
    assert cluster.requeues == 0


def test_without_a_gpu_the_device_is_the_config_s(cluster: Cluster) -> None:
    cluster.complete("net1")
    for gpus in ({}, {"SLURM_GPUS_ON_NODE": "0"}):
        cluster.run("net1", **gpus)
        assert ".device=" not in cluster.calls("python -m")[-1]


@pytest.mark.parametrize("half", ["net1", "net2"])
def test_a_half_as_a_job_of_its_own(cluster: Cluster, half: str) -> None:
    cluster.complete(half)
    done = cluster.run(half, SLURM_CPUS_PER_TASK="2")
    assert done.returncode == 0, done.stderr
    (call,) = cluster.calls("python -m")
    assert f"dualnet {half} " in call and call.endswith(f" --set {half}.threads=2")
    assert cluster.calls("srun") == [] and cluster.requeues == 0


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_before_the_limit_the_halves_stop_and_the_job_is_queued_again(
    cluster: Cluster, job: str, number: signal.Signals
) -> None:
    process = cluster.start(job, str(cluster.config), str(cluster.run_dir), FAKE_EXIT="wait")
    halves = 2 if job == "two_nodes" else 1
    deadline = time.monotonic() + 60
    while len(cluster.calls("waiting")) < halves:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)  # to the batch script alone, as --signal=B: does
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert len(cluster.calls("stopped")) == halves
    assert cluster.requeues == 1
    assert "is queued again" in output


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize(
    ("code", "requeues"), [("71", 1), ("74", 1), ("0", 1), ("1", 0), ("2", 0), ("76", 0), ("75", 0)]
)
def test_what_may_pass_is_tried_again(cluster: Cluster, job: str, code: str, requeues: int) -> None:
    """0 with a run that is not complete: the scheduler signalled the halves themselves."""
    done = cluster.run(job, FAKE_EXIT=code)
    assert done.returncode == int(code)
    assert cluster.requeues == requeues


def test_a_complete_run_is_not_queued_again(cluster: Cluster) -> None:
    cluster.complete("net1")
    cluster.run("two_nodes")
    assert cluster.requeues == 1, "net2 is not complete"
    cluster.complete("net1", "net2")
    cluster.run("two_nodes")
    assert cluster.requeues == 1
    cluster.run("two_nodes", FAKE_WORDS="ROLE is complete already; runs/a")
    assert cluster.requeues == 1


def test_records_of_an_earlier_end_do_not_tell(cluster: Cluster) -> None:
    """A damaged run is repaired, a finished one made longer, and the job stopped meanwhile."""
    cluster.leave_records("net1", "net2")
    cluster.run("two_nodes")
    assert cluster.requeues == 1
    cluster.run("two_nodes", FAKE_EXIT="71")
    assert cluster.requeues == 2


def test_a_cancelled_job_stays_so(cluster: Cluster) -> None:
    done = cluster.run("net1", FAKE_STATE="CANCELLED")
    assert cluster.requeues == 0 and "was cancelled" in done.stderr


def test_not_for_ever(cluster: Cluster) -> None:
    done = cluster.run("net1", FAKE_EXIT="71", SLURM_RESTART_COUNT="3", DUALNET_MAX_REQUEUES="3")
    assert cluster.requeues == 0 and "after 3 times" in done.stderr


@pytest.mark.parametrize("job", JOBS)
def test_help_and_usage(cluster: Cluster, job: str) -> None:
    done = run(cluster.script(job), "--help")
    assert done.returncode == 0 and "Examples:" in done.stdout
    done = run(cluster.script(job), **cluster.variables)
    assert done.returncode == 2 and "CONFIG and RUN_DIR" in done.stderr


def test_ranks_become_halves(cluster: Cluster) -> None:
    script = ROOT / "scripts/run_by_rank.sh"
    arguments = [str(cluster.config), str(cluster.run_dir)]
    for name in ("RANK", "SLURM_PROCID"):
        for rank, half in (("0", "net1"), ("1", "net2")):
            done = run(script, *arguments, **{**cluster.variables, name: rank})
            assert done.returncode == 0, done.stderr
            assert f"dualnet {half} " in cluster.calls("python -m")[-1]
    for rank, complaint in (("2", "two halves"), ("", "no rank")):
        done = run(script, *arguments, **{**cluster.variables, "RANK": rank})
        assert done.returncode == 2 and complaint in done.stderr


@pytest.mark.slow
def test_a_real_run_is_stopped_queued_again_and_completed(cluster: Cluster, workdir: Path) -> None:
    """Two jobs, one after the other, train what one does."""
    options = [
        word
        for setting in (
            "train.max_iter=40", "train.snapshot=10", "train.display=1", "train.batch_size=8",
            "train.test_interval=0", "net1.threads=1", "net2.threads=1",
        )
        for word in ("--set", setting)
    ]  # fmt: skip
    real = {"DUALNET_PYTHON": sys.executable, "DUALNET_HOME": str(ROOT)}
    # The prototxt name data relative to the repository, which has none here.
    config = workdir / "configs/digits.yaml"
    program(
        cluster.log.parent / "in workdir",
        f'cd "{workdir}" && exec "{sys.executable}" "$@"\n',
    )
    real["DUALNET_PYTHON"] = str(cluster.log.parent / "in workdir")
    job = cluster.start("two_nodes", str(config), str(cluster.run_dir), *options, **real)
    log = cluster.run_dir / "net2.log"
    deadline = time.monotonic() + 120
    while not (log.exists() and "Iteration 3 " in log.read_text()):
        assert time.monotonic() < deadline and job.poll() is None
        time.sleep(0.01)
    job.send_signal(signal.SIGUSR1)
    output, _ = job.communicate(timeout=120)
    assert job.returncode == 0, output
    assert cluster.requeues == 1, output
    again = cluster.start("two_nodes", str(config), str(cluster.run_dir), *options, **real)
    output, _ = again.communicate(timeout=120)
    assert again.returncode == 0, output
    assert cluster.requeues == 1, output
    assert "Restoring previous solver status" in log.read_text()
    assert "Optimization Done." in log.read_text()
