#!/usr/bin/env bash
# Run net2, the back half, on this node.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/run_net2.sh CONFIG RUN_DIR [DUALNET OPTIONS]

Runs net2: the layers from the cut to the loss on the labels. Start run_net1.sh with the
same two arguments on the other node, in either order; each waits for the other. RUN_DIR must be on
a file system that both nodes see. Progress goes to RUN_DIR/net2.log in Caffe's log format.

Works from any directory and under a batch scheduler: the script becomes the training process, so
the scheduler's signals reach it, and its exit code is the process's. Relative paths are relative
to where you are; the paths inside prototxt are relative to the repository.

With train.snapshot the same command, after a crash, a kill or a requeue, goes on from this half's
latest checkpoint; on SIGTERM and SIGUSR1 it writes one and exits with 0.

Variables: DUALNET_PYTHON (default: .venv/bin/python if there, else python3),
DUALNET_CAFFE (auto, engine or bvlc), DUALNET_HOME (the repository, where a scheduler copies this
script and the job is not submitted from the repository).

Examples:
  scripts/run_net2.sh configs/cifar10.yaml /shared/runs/first
  scripts/run_net2.sh configs/cifar10.yaml /shared/runs/first --set train.snapshot=200
  srun --nodes=1 --gres=gpu:1 scripts/run_net2.sh configs/cifar10.yaml /shared/runs/first \
    --set train.max_iter=4000
  sbatch --gres=gpu:1 --requeue --signal=USR1@60 scripts/run_net2.sh configs/cifar10.yaml \
    /shared/runs/first --set train.snapshot=200
TEXT
}

half=net2
# sbatch and qsub run a copy of this file from a spool folder; the rest is in the repository.
for scripts in "$(dirname "${BASH_SOURCE[0]}")" "${DUALNET_HOME:-.}/scripts" \
  "${SLURM_SUBMIT_DIR:-.}/scripts" "${PBS_O_WORKDIR:-.}/scripts"; do
  [ -r "$scripts/run_half.sh" ] && break
done
if [ ! -r "$scripts/run_half.sh" ]; then
  echo "${0##*/}: cannot find the repository: submit from it, or set DUALNET_HOME to it" >&2
  exit 2
fi
# shellcheck source=scripts/run_half.sh
. "$scripts/run_half.sh"
