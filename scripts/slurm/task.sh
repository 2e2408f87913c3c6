#!/usr/bin/env bash
# One task of nodes.sbatch: task r is piece r+1, on what the scheduler gave it.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: srun scripts/slurm/task.sh CONFIG RUN_DIR [DUALNET OPTIONS]

Called by nodes.sbatch on each node. SLURM_PROCID says which piece it is; the GPU and the cores are
those that Slurm gave the task.

Examples:
  srun --nodes=3 --ntasks=3 --gpus-per-task=1 scripts/slurm/task.sh configs/cifar10_three.yaml \
    /shared/runs/three
TEXT
}

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
esac
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=scripts/slurm/piece_job.sh
. "$here/piece_job.sh"
[ -n "${SLURM_PROCID:-}" ] || fail "SLURM_PROCID is not set: start it with srun --ntasks=K"
mapfile -t pins < <(pinned "net$((SLURM_PROCID + 1))")
# The user's own settings come last, and win.
exec "$here/../run_by_rank.sh" "${@:1:2}" "${pins[@]}" "${@:3}"
