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
#: The batch scripts, the pieces that each of them runs here, and what comes before CONFIG.
PIECES = {
    "two_nodes": ["net1", "net2"],
    "nodes": ["net1", "net2", "net3"],
    "net1": ["net1"],
    "net2": ["net2"],
    "net": ["net3"],
}
JOBS = list(PIECES)
FIRST = {"net": ["3"]}

SRUN = r"""
# Runs the command as --ntasks tasks; passes signals on; the highest exit code is its own.
while [ "${1#--}" != "$1" ]; do
  echo "srun $1" >>"$FAKE_LOG"
  case "$1" in --ntasks=*) export SLURM_STEP_NUM_TASKS=${1#*=} ;; esac
  shift
done
for rank in $(seq 0 $((SLURM_STEP_NUM_TASKS - 1))); do
  SLURM_PROCID=$rank "$@" & pids="${pids:-} $!"
done
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
            self.script(job), *FIRST.get(job, []), str(self.config), str(self.run_dir), *options,
            **{**self.variables, **self.tasks(job), **variables},
        )  # fmt: skip

    def start(self, job: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start a job."""
        return subprocess.Popen(
            [str(self.script(job)), *FIRST.get(job, []), *arguments],
            env=environment(**{**self.variables, **self.tasks(job), **variables}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def tasks(self, job: str) -> dict[str, str]:
        """What sbatch says of the tasks that a job has."""
        return {"SLURM_NTASKS": str(len(PIECES[job]))}

    def calls(self, of: str) -> list[str]:
        """What a stand-in was called with."""
        return [line for line in self.log.read_text().splitlines() if line.startswith(of)]

    @property
    def requeues(self) -> int:
        return len(self.calls("scontrol requeue 4711"))

    def complete(self, *pieces: str) -> None:
        """From now on these pieces say that nothing is left to do."""
        self.variables["FAKE_DONE"] = " ".join(pieces)

    def leave_records(self, *pieces: str) -> None:
        """Leave the records of an earlier end."""
        self.run_dir.mkdir(exist_ok=True)
        for piece in pieces:
            record = {"complete": True, "piece": piece}
            path = self.run_dir / f"{piece}_iter_9.checkpoint.json"
            path.write_text(json.dumps(record, indent=1))


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


@pytest.mark.parametrize("job", ["two_nodes", "nodes"])
def test_each_task_is_a_piece_on_what_the_scheduler_gave_it(cluster: Cluster, job: str) -> None:
    cluster.complete(*PIECES[job])
    done = cluster.run(job, "--set", "seed=2", SLURM_GPUS_ON_NODE="1", SLURM_CPUS_PER_TASK="3")
    assert done.returncode == 0, done.stderr
    count = len(PIECES[job])
    assert len(cluster.calls("python -m dualnet")) == count
    for piece in PIECES[job]:
        (call,) = cluster.calls(f"python -m dualnet {piece} ")
        assert call.split(str(cluster.run_dir))[1] == (
            f" --set {piece}.device=0 --set {piece}.threads=3 --set seed=2 --of {count}"
        )
    assert {f"srun --ntasks={count}", f"srun --nodes={count}"} <= set(cluster.calls("srun"))
    assert cluster.requeues == 0


def test_two_pieces_on_a_node(cluster: Cluster) -> None:
    cluster.complete("net1", "net2", "net3", "net4")
    cluster.run("nodes", SLURM_NTASKS="4", SLURM_JOB_NUM_NODES="2")
    assert {"srun --ntasks=4", "srun --nodes=2"} <= set(cluster.calls("srun"))
    assert len(cluster.calls("python -m dualnet net")) == 4


def test_a_job_whose_number_of_tasks_nobody_knows(cluster: Cluster) -> None:
    done = cluster.run("nodes", SLURM_NTASKS="")
    assert done.returncode == 2 and "sbatch --nodes=K --ntasks=K" in done.stderr
    assert cluster.calls("srun") == []


def test_a_chain_of_one_piece_is_complete_as_single(cluster: Cluster) -> None:
    cluster.complete("net1")
    cluster.run("nodes", SLURM_NTASKS="1", FAKE_WORDS="trained single to iteration 9; runs/a")
    assert cluster.requeues == 0
    cluster.run("net1", FAKE_WORDS="single is complete already; runs/a")
    assert cluster.requeues == 0


def test_without_a_gpu_the_device_is_the_config_s(cluster: Cluster) -> None:
    cluster.complete("net1")
    for gpus in ({}, {"SLURM_GPUS_ON_NODE": "0"}):
        cluster.run("net1", **gpus)
        assert ".device=" not in cluster.calls("python -m")[-1]


@pytest.mark.parametrize("job", ["net1", "net2", "net"])
def test_a_piece_as_a_job_of_its_own(cluster: Cluster, job: str) -> None:
    (piece,) = PIECES[job]
    cluster.complete(piece)
    done = cluster.run(job, SLURM_CPUS_PER_TASK="2")
    assert done.returncode == 0, done.stderr
    (call,) = cluster.calls("python -m")
    assert f"dualnet {piece} " in call and call.endswith(f" --set {piece}.threads=2")
    assert cluster.calls("srun") == [] and cluster.requeues == 0


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_before_the_limit_the_pieces_stop_and_the_job_is_queued_again(
    cluster: Cluster, job: str, number: signal.Signals
) -> None:
    process = cluster.start(job, str(cluster.config), str(cluster.run_dir), FAKE_EXIT="wait")
    count = len(PIECES[job])
    deadline = time.monotonic() + 60
    while len(cluster.calls("waiting")) < count:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)  # to the batch script alone, as --signal=B: does
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert len(cluster.calls("stopped")) == count
    assert cluster.requeues == 1
    assert "is queued again" in output


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize(
    ("code", "requeues"), [("71", 1), ("74", 1), ("0", 1), ("1", 0), ("2", 0), ("76", 0), ("75", 0)]
)
def test_what_may_pass_is_tried_again(cluster: Cluster, job: str, code: str, requeues: int) -> None:
    """0 with a run that is not complete: the scheduler signalled the pieces themselves."""
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


def test_the_end_of_net11_is_not_that_of_net1(cluster: Cluster) -> None:
    cluster.run("net1", FAKE_DONE="net1", FAKE_WORDS="trained net11 to iteration 9")
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


#: The variables of a launcher: rank, number of processes.
LAUNCHERS = [
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
]


@pytest.mark.parametrize(("rank_in", "size_in"), LAUNCHERS)
def test_ranks_become_pieces(cluster: Cluster, rank_in: str, size_in: str) -> None:
    script = ROOT / "scripts/run_by_rank.sh"
    arguments = [str(cluster.config), str(cluster.run_dir)]
    # What mpirun starts inside a batch job inherits what Slurm says of the batch script.
    others = {"SLURM_PROCID": "0", "SLURM_NTASKS": "9"} if rank_in[0] != "S" else {}
    for rank in (0, 2):
        variables = {**cluster.variables, **others, rank_in: str(rank), size_in: "3"}
        done = run(script, *arguments, **variables)
        assert done.returncode == 0, done.stderr
        call = cluster.calls("python -m")[-1]
        assert f"dualnet net{rank + 1} " in call and call.endswith(" --of 3")


def test_a_rank_without_a_number_of_processes(cluster: Cluster) -> None:
    script = ROOT / "scripts/run_by_rank.sh"
    arguments = [str(cluster.config), str(cluster.run_dir)]
    for rank, complaint in (("-1", "rank '-1' is not a number from 0"), ("", "no rank: start it")):
        done = run(script, *arguments, **{**cluster.variables, "RANK": rank})
        assert done.returncode == 2 and complaint in done.stderr
    run(script, *arguments, **{**cluster.variables, "RANK": "1"})
    assert "--of" not in cluster.calls("python -m")[-1]


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
