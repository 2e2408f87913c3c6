#!/usr/bin/env bash
# One task of two_nodes.sbatch: task 0 is net1, task 1 net2, on what the scheduler gave it.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: srun scripts/slurm/task.sh CONFIG RUN_DIR [DUALNET OPTIONS]

Called by two_nodes.sbatch on each node. SLURM_PROCID says which half it is; the GPU and the cores
are those that Slurm gave the task.

Examples:
  srun --nodes=2 --ntasks=2 --gpus-per-task=1 scripts/slurm/task.sh configs/cifar10.yaml \
    /shared/runs/first
TEXT
}

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
esac
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=scripts/slurm/half_job.sh
. "$here/half_job.sh"
case "${SLURM_PROCID:-}" in
  0) half=net1 ;;
  1) half=net2 ;;
  *) fail "SLURM_PROCID is '${SLURM_PROCID:-}': start two tasks with srun --ntasks=2" ;;
esac
mapfile -t pins < <(pinned "$half")
# The user's own settings come last, and win.
exec "$here/../run_$half.sh" "${@:1:2}" "${pins[@]}" "${@:3}"
