#!/usr/bin/env bash
# Run the piece that this process's rank stands for: rank 0 is net1, rank 1 is net2, and so on.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/run_by_rank.sh CONFIG RUN_DIR [DUALNET OPTIONS]

For launchers that start the same command on every node: torchrun, srun, mpirun. Rank r runs
run_net.sh r+1 with the same arguments. The rank and the number of processes are taken from RANK
and WORLD_SIZE, OMPI_COMM_WORLD_RANK and OMPI_COMM_WORLD_SIZE, PMI_RANK and PMI_SIZE, or
SLURM_PROCID and SLURM_STEP_NUM_TASKS (else SLURM_NTASKS), the first pair whose rank is set. Where
the number is known, every process ends at once with 2 if the chain has another number of pieces.
RUN_DIR must be on a file system that all nodes see.

Examples:
  srun --nodes=2 --ntasks=2 scripts/run_by_rank.sh configs/cifar10.yaml /shared/runs/first
  mpirun -n 3 scripts/run_by_rank.sh configs/cifar10_three.yaml /shared/runs/three
  torchrun --nnodes=2 --nproc-per-node=1 --rdzv-backend=c10d --rdzv-endpoint=node1:29400 \
    --no-python scripts/run_by_rank.sh configs/cifar10.yaml /shared/runs/first \
    --set exchange.carrier=torch
TEXT
}

fail() {
  echo "${0##*/}: $*" >&2
  exit 2
}

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
esac
# Slurm's come last: what mpirun starts inside a batch job inherits the batch script's SLURM_PROCID.
if [ -n "${RANK:-}" ]; then
  rank=$RANK size=${WORLD_SIZE:-}
elif [ -n "${OMPI_COMM_WORLD_RANK:-}" ]; then
  rank=$OMPI_COMM_WORLD_RANK size=${OMPI_COMM_WORLD_SIZE:-}
elif [ -n "${PMI_RANK:-}" ]; then
  rank=$PMI_RANK size=${PMI_SIZE:-}
elif [ -n "${SLURM_PROCID:-}" ]; then
  rank=$SLURM_PROCID size=${SLURM_STEP_NUM_TASKS:-${SLURM_NTASKS:-}}
else
  fail "no rank: start it with torchrun, srun or mpirun, or set RANK"
fi
[[ $rank =~ ^[0-9]+$ ]] || fail "rank '$rank' is not a number from 0"
expected=()
if [ -n "$size" ]; then expected=(--of "$size"); fi
scripts=${DUALNET_HOME:+$DUALNET_HOME/scripts}
scripts=${scripts:-$(dirname "${BASH_SOURCE[0]}")}
exec "$scripts/run_net.sh" $((10#$rank + 1)) "$@" "${expected[@]}"
