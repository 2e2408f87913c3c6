#!/usr/bin/env bash
# The fault campaign: kill, stop and starve pieces, and compare what they trained, bit for bit.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/fault_campaign.sh [--pieces K] [--count N] [--seed N] [--output DIR] [--jobs N]
                                 [--only N]… [--keep DIR] [--again] [PART…]

Trains the digits net, cut into K pieces (default 3), again and again while faults are injected, and
writes raw rows to OUTPUT/PART.jsonl and the summary to OUTPUT/README.md (default
results/reliability). An interrupted part resumes after its last row; chains of other lengths have
rows of their own. About three hours on one core. Parts (default: all):

  kills     1,000 SIGKILLs at random moments: of one piece or several, with every schedule, over files
            and tcp
  points    SIGKILL before and after named points
  calls     SIGKILL before every call that changes the disk, in a first life and in a restart
  strace    the same from outside, where strace may attach; no hook in the program
  errors    calls fail once, or permanently
  stops     SIGTERM and SIGUSR1 at random moments
  zombies   SIGSTOP past the lease, a replacement, SIGCONT
  hangs     SIGSTOP of the last piece: the piece beside it ends with 72, those below with 71
  full      a real tmpfs that is full, or without inodes, or read-only (needs user namespaces)
  cases     the fault cases of the exchange that one process can inject, 100 times each
  copies    8 copies of a piece at once, 500 times
  nfs       a model of NFS with caches of 60 s
  cost      what a message costs, beside a bare write, rename and read
  liveness  500 trainings with options, timers and faults drawn at random; when the faults end, all
            pieces get the same command once, and the training has to complete. About an hour.
  damage    300 times a file of a run, its data or its inputs is damaged, or something else put in
            its place; then commands run on it

Options of liveness and damage: --jobs N at a time (default 3); --again repeats those that went
wrong. Of liveness: --only N does training N alone, of the campaign with that --seed; --keep DIR
keeps the files of those that went wrong.

Variables: DUALNET_BVLC_PYTHON: a Python with the real Caffe; a fifth of the kills then go to it.
DUALNET_PYTHON, DUALNET_VENV: as for scripts/test.sh. Exit code 1 if anything went wrong.

Examples:
  scripts/fault_campaign.sh
  nice scripts/fault_campaign.sh --seed 7 kills zombies
  scripts/fault_campaign.sh --only 42 --keep /tmp/kept --output /tmp/one liveness
  scripts/fault_campaign.sh --count 50 --output /tmp/quick kills hangs
  scripts/fault_campaign.sh --pieces 2 kills calls
TEXT
}

options=()
parts=()
output=results/reliability
count=
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --output) output=${2:?}; shift ;;
    --seed) options+=(--seed "${2:?}"); shift ;;
    --count) count=${2:?}; shift ;;
    --pieces | --jobs | --only) options+=("$1" "${2:?}"); shift ;;
    --keep) options+=(--keep "$(realpath -m -- "${2:?}")"); shift ;;
    --again) options+=(--again) ;;
    -*) echo "${0##*/}: unknown option '$1'; see --help" >&2; exit 2 ;;
    *) parts+=("$1") ;;
  esac
  shift
done
[ ${#parts[@]} -gt 0 ] ||
  parts=(kills points calls strace errors stops zombies hangs full cases copies nfs cost liveness damage)
[ -z "$count" ] || options+=(--count "$count")

# shellcheck source=scripts/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
use_environment test
output=$(realpath -m -- "$output")
options+=(--output "$output")
cd "$root"
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
status=0
run() { "$@" || status=$?; }

for part in "${parts[@]}"; do
  case $part in
    kills)
      bvlc=${DUALNET_BVLC_PYTHON:-}
      run "$python" -m scripts.fault_campaign kills "${options[@]}"
      [ -z "$bvlc" ] || run env DUALNET_CAFFE=bvlc "$bvlc" -m scripts.fault_campaign kills \
        "${options[@]}" --count "$((${count:-1000} / 5))"
      ;;
    full)
      # A file system of its own, in a name space of its own: no root needed.
      scratch=$(mktemp -d)
      run unshare --user --map-root-user --mount \
        "$python" -m scripts.fault_campaign full "${options[@]}" --scratch "$scratch"
      rmdir "$scratch" || true
      ;;
    *) run "$python" -m scripts.fault_campaign "$part" "${options[@]}" ;;
  esac
done
run "$python" -m scripts.fault_campaign report "${options[@]}"
exit "$status"
