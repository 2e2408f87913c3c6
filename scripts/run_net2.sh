#!/usr/bin/env bash
# Run net2, the second piece of the chain, on this node.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/run_net2.sh CONFIG RUN_DIR [DUALNET OPTIONS]

Runs net2: the layers after the first cut, to the loss on the labels or to the next cut. Start
run_net1.sh with the same two arguments on the other node, in either order (in a longer chain,
run_net.sh 3 and so on, too); each waits for its neighbours. RUN_DIR must be on a file system that
all nodes see.
Progress goes to RUN_DIR/net2.log in Caffe's log format.

Examples:
  scripts/run_net2.sh configs/cifar10.yaml /shared/runs/first
  scripts/run_net2.sh configs/cifar10.yaml /shared/runs/first --set train.snapshot=200
  srun --nodes=1 --gres=gpu:1 scripts/run_net2.sh configs/cifar10.yaml /shared/runs/first \
    --set train.max_iter=4000
  sbatch --gres=gpu:1 --requeue --signal=USR1@60 scripts/run_net2.sh configs/cifar10.yaml \
    /shared/runs/first --set train.snapshot=200

TEXT
  common_usage
}

# sbatch and qsub run a copy of this file from a spool folder; the rest is in the repository.
for scripts in "$(dirname "${BASH_SOURCE[0]}")" "${DUALNET_HOME:-.}/scripts" \
  "${SLURM_SUBMIT_DIR:-.}/scripts" "${PBS_O_WORKDIR:-.}/scripts"; do
  [ -r "$scripts/run_piece.sh" ] && break
done
if [ ! -r "$scripts/run_piece.sh" ]; then
  echo "${0##*/}: cannot find the repository: submit from it, or set DUALNET_HOME to it" >&2
  exit 2
fi
# shellcheck source=scripts/run_piece.sh
. "$scripts/run_piece.sh"
run_piece net2 "$@"
