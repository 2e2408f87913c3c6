#!/usr/bin/env bash
# Run the half that this process's rank stands for: rank 0 is net1, rank 1 is net2.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/run_by_rank.sh CONFIG RUN_DIR [DUALNET OPTIONS]

For launchers that start the same command on every node: torchrun, srun, mpirun. The rank is taken
from RANK, SLURM_PROCID, OMPI_COMM_WORLD_RANK or PMI_RANK, whichever is set first; 0 becomes
run_net1.sh and 1 run_net2.sh, with the same arguments. RUN_DIR must be on a file system that both
nodes see.

Examples:
  srun --nodes=2 --ntasks=2 scripts/run_by_rank.sh configs/cifar10.yaml /shared/runs/first
  torchrun --nnodes=2 --nproc-per-node=1 --rdzv-backend=c10d --rdzv-endpoint=node1:29400 \
    --no-python scripts/run_by_rank.sh configs/cifar10.yaml /shared/runs/first \
    --set exchange.carrier=torch
TEXT
}

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
esac
rank=${RANK:-${SLURM_PROCID:-${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-}}}}
scripts=${DUALNET_HOME:+$DUALNET_HOME/scripts}
scripts=${scripts:-$(dirname "${BASH_SOURCE[0]}")}
case "$rank" in
  0) exec "$scripts/run_net1.sh" "$@" ;;
  1) exec "$scripts/run_net2.sh" "$@" ;;
  '') echo "${0##*/}: no rank: start it with torchrun, srun or mpirun, or set RANK" >&2 ;;
  *) echo "${0##*/}: rank $rank, but there are two halves: start two processes" >&2 ;;
esac
exit 2
