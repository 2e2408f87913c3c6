#!/usr/bin/env bash
# Run piece K of the chain on this node.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/run_net.sh K CONFIG RUN_DIR [DUALNET OPTIONS]

Runs piece K of the chain that CONFIG describes: 1 has the data, the last one the loss on the
labels. Start every piece with the same CONFIG and RUN_DIR, each on a node of its own or several on
one, in any order; each waits for its neighbours. RUN_DIR must be on a file system that all nodes
see. Progress goes to RUN_DIR/netK.log in Caffe's log format. run_net1.sh and run_net2.sh are short
for the first two.

Examples:
  scripts/run_net.sh 3 configs/cifar10_three.yaml /shared/runs/three
  scripts/run_net.sh 3 configs/cifar10_three.yaml /shared/runs/three --set net3.device=1
  for node in 1 2 3; do
    ssh node$node "$PWD/scripts/run_net.sh" $node "$PWD/configs/cifar10_three.yaml" \
      /shared/runs/three --set train.snapshot=200 &
  done; wait

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
case "${1:-}" in
  -h | --help) usage; exit 0 ;;
esac
if ! [[ ${1:-} =~ ^[1-9][0-9]*$ ]]; then
  usage >&2
  fail "needs K, the number of a piece from 1, before CONFIG and RUN_DIR"
fi
run_piece "net$1" "${@:2}"
