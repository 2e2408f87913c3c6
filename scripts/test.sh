#!/usr/bin/env bash
# Run the test suite.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/test.sh [PYTEST ARGUMENTS]

Runs the tests with the engine, in .venv, which is made on the first run and reused as long as
the files in requirements/ stay the same. Tests that need the real Caffe are left out; .ci/run
runs them too.

Variables: DUALNET_PYTHON (a Python to use as it is), DUALNET_VENV (default .venv),
PYTHON (what .venv is made from, default python3).

Examples:
  scripts/test.sh
  scripts/test.sh tests/engine -k pooling -x
  DUALNET_BVLC_PYTHON=.caffe/bin/python scripts/test.sh -m bvlc
TEXT
}

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
esac

# shellcheck source=scripts/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
use_environment test
cd "$root"
# pytest obeys the last -m, so a marker given by the user replaces this one.
exec "$python" -m pytest -q -m "not bvlc" "$@"
