# shellcheck shell=bash
# What the batch scripts of this folder share; source it.
#
#   find_root       sets $root, the repository: sbatch runs a copy of a script from a spool folder
#   use_node        takes what the scheduler has given this task: GPUs, cores
#   run_and_requeue HALVES COMMAND...   runs the halves, passes the scheduler's signals on, and has
#                                       the job queued again if there is something left to do

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

# What a half says at its end, if nothing is left to do; one that was stopped by a signal exits with
# 0, too. Its records alone do not tell: of a damaged or a longer run they speak of an earlier end.
ended() { printf '(trained %s to iteration|%s is complete already)' "$1" "$1"; }

# have_ended FILE HALVES...: whether all halves have said so; their last words may still be on the way.
have_ended() {
  local half tries
  for half in "${@:2}"; do
    for tries in 1 2 3 4 5 6 7 8 9 10; do
      if grep -qE "$(ended "$half")" "$1"; then continue 2; fi
      [ "$tries" = 10 ] || sleep 0.1
    done
    return 1
  done
}

# run_and_requeue HALVES COMMAND...: HALVES are those that this job runs, as in "net1 net2".
run_and_requeue() {
  local halves=$1 child code=0 signalled='' said
  shift
  said=$(mktemp)
  # The signals that the scheduler sends to all processes of a job do not end what passes words on.
  "$@" 2> >(
    trap '' USR1 TERM INT HUP
    tee >(grep --line-buffered -aoE "$(ended 'net[12]')" >"$said") >&2
  ) &
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
  case "$code" in
    # Done, or stopped, by whatever signal the scheduler sent to whomever. Were the words of the end
    # lost, the next job would find the run complete, and say so.
    # shellcheck disable=SC2086  # a list of words
    0) have_ended "$said" $halves || requeue ;;
    # The partner or the disk, which may come back. All else would fail again.
    70 | 71 | 72 | 73 | 74) requeue ;;
    # Asked to stop, and killed before it had.
    137 | 138 | 143) if [ -n "$signalled" ]; then requeue; fi ;;
  esac
  rm -f "$said"
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
