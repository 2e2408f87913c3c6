# shellcheck shell=bash
# What run_net1.sh and run_net2.sh share; they define usage() and $half, then source this.

: "${half:?source this from run_net1.sh or run_net2.sh}"

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
esac
# shellcheck source=scripts/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
if [ $# -lt 2 ] || [ "${1#-}" != "$1" ] || [ "${2#-}" != "$2" ]; then
  usage >&2
  fail "needs CONFIG and RUN_DIR, in this order, before any option"
fi
[ -r "$1" ] || fail "no configuration file '$1' (seen from $PWD)"
use_python
config=$(realpath -- "$1")
run_dir=$(realpath -m -- "$2")
shift 2
mkdir -p "$run_dir" 2>/dev/null || fail "cannot make the run directory '$run_dir'"
echo "$half on $(hostname): $config, run directory $run_dir, $("$python" --version)" >&2
# The prototxt files name data and nets relative to the repository, as Caffe's own examples do.
cd "$root" || fail "cannot enter $root"
# exec: the scheduler's signals must reach the training process, and its exit code the scheduler.
exec "$python" -m dualnet "$half" "$config" --run-dir "$run_dir" "$@"
