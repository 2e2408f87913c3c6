# shellcheck shell=bash
# What run_net.sh, run_net1.sh and run_net2.sh share. They define usage() and source this; then
#
#   common_usage             prints the end of their usage
#   run_piece NAME ARGS...   becomes the training process of piece NAME

# shellcheck source=scripts/python.sh
. "$(dirname "${BASH_SOURCE[0]}")/python.sh"

common_usage() {
  cat <<'TEXT'
Works from any directory and under a batch scheduler: the script becomes the training process, so
the scheduler's signals reach it, and its exit code is the process's. Relative paths are relative
to where you are. What CONFIG and the prototxt name is looked for beside the file that names it,
then where you are, then in the folders above that file.

With train.snapshot the same command, after a crash, a kill or a requeue, goes on from this piece's
latest checkpoint; on SIGTERM and SIGUSR1 it writes one and exits with 0.

Variables: DUALNET_PYTHON (default: .venv/bin/python if there, else python3),
DUALNET_CAFFE (auto, engine or bvlc), DUALNET_HOME (the repository, where a scheduler copies this
script and the job is not submitted from the repository).
TEXT
}

run_piece() {
  local piece=$1 config run_dir
  shift
  case "${1:-}" in
    -h | --help) usage; exit 0 ;;
  esac
  if [ $# -lt 2 ] || [ "${1#-}" != "$1" ] || [ "${2#-}" != "$2" ]; then
    usage >&2
    fail "needs CONFIG and RUN_DIR, in this order, before any option"
  fi
  [ -r "$1" ] || fail "no configuration file '$1' (seen from $PWD)"
  use_python
  config=$1 run_dir=$2
  shift 2
  mkdir -p "$run_dir" 2>/dev/null || fail "cannot make the run directory '$run_dir'"
  echo "$piece on $(hostname): $config, run directory $run_dir, $("$python" --version)" >&2
  # exec: the scheduler's signals must reach the training process, and its exit code the scheduler.
  exec "$python" -m dualnet "$piece" "$config" --run-dir "$run_dir" "$@"
}
