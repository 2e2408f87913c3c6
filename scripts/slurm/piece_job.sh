# shellcheck shell=bash
# What the batch scripts of this folder share; source it.
#
#   pinned PIECE                        prints the arguments that give a piece the GPU and the cores
#                                       of this task
#   run_and_requeue PIECES COMMAND...   runs the pieces, passes the scheduler's signals on, and has
#                                       the job queued again if there is something left to do

fail() {
  echo "${0##*/}: $*" >&2
  exit 2
}

# Slurm numbers the GPUs that a task sees from 0 (it sets CUDA_VISIBLE_DEVICES), and binds the task to
# its cores.
pinned() {
  local piece=$1
  if [ -n "${SLURM_STEP_GPUS:-}${SLURM_JOB_GPUS:-}" ] || [ "${SLURM_GPUS_ON_NODE:-0}" != 0 ]; then
    printf '%s\n' --set "$piece.device=0"
  fi
  if [ -n "${SLURM_CPUS_PER_TASK:-}" ]; then
    printf '%s\n' --set "$piece.threads=$SLURM_CPUS_PER_TASK"
  fi
}

# What a piece prints at its end, if nothing is left to do; one that was stopped by a signal exits with
# 0, too. Its records are not enough: those of a damaged or a longer run are of an earlier end.
ended() { printf '(trained %s to iteration|%s is complete already)' "$1" "$1"; }

# have_ended FILE PIECES...: whether all have printed that; it may still be on the way to the file.
have_ended() {
  local piece name tries
  for piece in "${@:2}"; do
    name=$piece
    [ "$piece" != net1 ] || name='(net1|single)' # the only piece of a chain calls itself single
    for tries in 1 2 3 4 5 6 7 8 9 10; do
      if grep -qE "$(ended "$name")" "$1"; then continue 2; fi
      [ "$tries" = 10 ] || sleep 0.1
    done
    return 1
  done
}

# run_and_requeue PIECES COMMAND...: PIECES are those that this job runs, as in "net1 net2".
run_and_requeue() {
  local child code=0 signalled='' said pieces
  read -ra pieces <<<"$1"
  shift
  said=$(mktemp)
  # A signal to all processes of the job must not end those that read the pieces' output.
  "$@" 2> >(
    trap '' USR1 TERM INT HUP
    tee >(grep --line-buffered -aoE "$(ended '(net[0-9]+|single)')" >"$said") >&2
  ) &
  child=$!
  # Passed on: the pieces finish their iteration, write a checkpoint and exit with 0.
  trap 'signalled=yes; kill -USR1 "$child" 2>/dev/null || :' USR1 TERM
  while :; do
    code=0
    wait "$child" || code=$?
    # A trapped signal ends `wait`, not the child.
    kill -0 "$child" 2>/dev/null || break
  done
  trap - USR1 TERM
  case "$code" in
    # Complete, or stopped by a signal and resumable. If a piece's last line was lost, the next job
    # finds the run complete, and says so.
    0) have_ended "$said" "${pieces[@]}" || requeue ;;
    # A neighbour or the disk, which may come back. All else would fail again.
    70 | 71 | 72 | 73 | 74) requeue ;;
    # Asked to stop, and killed by the scheduler before it had.
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
