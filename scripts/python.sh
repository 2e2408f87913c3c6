# shellcheck shell=bash
# The Python that the other scripts run dualnet with. Source it, then call
#
#   use_python              take whatever Python is there, for cluster jobs; sets $python
#   fail WORDS              say what is wrong, and exit with 2
#
# Variables that the user may set:
#   DUALNET_PYTHON   a Python to use as it is
#   DUALNET_VENV     where the environment lives (default: .venv in the repository)
#
# Sets $root, the repository, and $venv.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$(realpath -ms -- "${DUALNET_VENV:-$root/.venv}")

fail() {
  echo "${0##*/}: $*" >&2
  exit 2
}

use_python() {
  python=${DUALNET_PYTHON:-$venv/bin/python}
  if [ -z "${DUALNET_PYTHON:-}" ] && [ ! -x "$python" ]; then
    python=python3
  fi
  python=$(command -v "$python") || fail "no Python at '${DUALNET_PYTHON:-python3}'; set DUALNET_PYTHON"
  # Absolute, for callers that change directory; -s, because a venv's python is a symlink.
  python=$(realpath -s -- "$python")
  # Installed or not, the dualnet beside this script is the one that runs.
  export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
}
