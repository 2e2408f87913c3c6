# shellcheck shell=bash
# What the batch scripts of this folder share; source it.
#
#   find_root       sets $root, the repository: sbatch runs a copy of a script from a spool folder
#   use_node        takes what the scheduler has given this task: GPUs, cores
#   run_and_requeue COMMAND...   runs the halves, passes the scheduler's signals on, and has the job
#                                queued again if there is something left to do

fail() {
  echo "${0##*/}: $*" >&2
  exit 2
}

find_root() {
  for root in "${DUALNET_HOME:-}" "${SLURM_SUBMIT_DIR:-}" "$PWD"; do
    [ -n "$root" ] && [ -r "$root/scripts/run_half.sh" ] && return
  done
  fail "cannot find the repository: submit from it, or set DUALNET_HOME to it"
}

# Arguments that pin a half to what the scheduler gave it. Slurm numbers the GPUs that a task sees
# from 0 (it sets CUDA_VISIBLE_DEVICES), and binds the task to its cores.
pinned() {
  local half=$1
  if [ -n "${SLURM_STEP_GPUS:-}${SLURM_JOB_GPUS:-}" ] || [ "${SLURM_GPUS_ON_NODE:-0}" != 0 ]; then
    printf '%s\n' --set "$half.device=0"
  fi
  if [ -n "${SLURM_CPUS_PER_TASK:-}" ]; then
    printf '%s\n' --set "$half.threads=$SLURM_CPUS_PER_TASK"
  fi
}

# Whether a run has come to its end: every half of it says so in its last checkpoint.
is_complete() {
  local half
  for half in "${@:2}"; do
    grep -lqs '"complete": true' "$1/${half}"_iter_*.checkpoint.json || return 1
  done
}

# run_and_requeue RUN_DIR HALVES COMMAND...: HALVES are those that this job runs, as in "net1 net2".
run_and_requeue() {
  local run_dir=$1 halves=$2 child code=0 signalled=''
  shift 2
  "$@" &
  child=$!
  # Passed on: the halves finish their iteration, write a checkpoint and exit with 0.
  trap 'signalled=yes; kill -USR1 "$child" 2>/dev/null || :' USR1 TERM
  while :; do
    code=0
    wait "$child" || code=$?
    # A trapped signal ends `wait`, not the child.
    kill -0 "$child" 2>/dev/null || break
  done
  trap - USR1 TERM
  # shellcheck disable=SC2086  # a list of words
  if is_complete "$run_dir" $halves; then
    return "$code"
  fi
  case "$code" in
    # 0: stopped, by whatever signal the scheduler sent to whomever. 70 to 74: the partner or the
    # disk, which may come back. All else would fail again.
    0 | 70 | 71 | 72 | 73 | 74) requeue ;;
    # Asked to stop, and killed before it had.
    137 | 138 | 143) if [ -n "$signalled" ]; then requeue; fi ;;
  esac
  return "$code"
}

requeue() {
  local limit=${DUALNET_MAX_REQUEUES:-100}
  [ -n "${SLURM_JOB_ID:-}" ] || return 0
  if scontrol show job "$SLURM_JOB_ID" 2>/dev/null | grep -q 'JobState=CANCELLED'; then
    echo "${0##*/}: job $SLURM_JOB_ID was cancelled and is not queued again" >&2
  elif [ "${SLURM_RESTART_COUNT:-0}" -ge "$limit" ]; then
    # A run that fails at once must not be queued again for ever.
    echo "${0##*/}: not queued again, after $SLURM_RESTART_COUNT times" >&2
  elif scontrol requeue "$SLURM_JOB_ID"; then
    echo "${0##*/}: job $SLURM_JOB_ID is queued again" >&2
  else
    echo "${0##*/}: scontrol cannot queue job $SLURM_JOB_ID again; submit it once more" >&2
  fi
}
