# shellcheck shell=bash
# The Python environment that tests, checks and the quickstart share. Source it, then call
#
#   use_environment LEVEL   make or update .venv for requirements/LEVEL.txt; sets $python
#
# Variables that the user may set:
#   DUALNET_PYTHON   a Python to use as it is; nothing is installed
#   DUALNET_VENV     where the environment lives (default: .venv in the repository)
#   PYTHON           the Python that .venv is made from (default: python3)
#
# Sets $root, the repository.

# shellcheck source=scripts/python.sh
. "$(dirname "${BASH_SOURCE[0]}")/python.sh"

# Every file that decides what is installed, and the Python that it is installed for.
_requirements_hash() {
  {
    "$1" --version
    cat "$root"/requirements/*.txt "$root/setup.py"
    # Not the settings of the tools, which change often and install nothing.
    sed -n '/^\[project/,/^\[tool/p' "$root/pyproject.toml"
  } | sha256sum | cut -d' ' -f1
}

_check_base_python() {
  command -v "$1" >/dev/null || fail "no '$1' here; install Python 3.9 or newer, or set PYTHON"
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 9))' ||
    fail "$("$1" --version) is too old: dualnet needs 3.9 or newer; set PYTHON to one"
  "$1" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$1 cannot make environments; on Debian and Ubuntu: apt-get install python3-venv"
}

use_environment() {
  local level=$1 base=${PYTHON:-python3} wanted included
  if [ -n "${DUALNET_PYTHON:-}" ]; then
    use_python
    return
  fi
  python=$venv/bin/python
  if [ -x "$python" ] && "$python" -c '' 2>/dev/null; then
    [ "$(cat "$venv/.dualnet-$level" 2>/dev/null)" = "$(_requirements_hash "$python")" ] && return
  fi
  mkdir -p "$venv" || fail "cannot write $venv; set DUALNET_VENV to a folder that you can write"
  # Lock the environment: two scripts that start at the same time must not both make it.
  if command -v flock >/dev/null; then
    exec 9>"$venv/.lock"
    flock 9
  fi
  # An interrupted first run leaves an environment without pip; that one is made again.
  if ! "$python" -m pip --version >/dev/null 2>&1; then
    _check_base_python "$base"
    echo "Making the environment $venv with $("$base" --version)"
    "$base" -m venv --clear "$venv"
  fi
  wanted=$(_requirements_hash "$python")
  if [ "$(cat "$venv/.dualnet-$level" 2>/dev/null)" != "$wanted" ]; then
    echo "Installing requirements/$level.txt into $venv (minutes the first time)"
    local quiet=(--quiet)
    [ -t 1 ] && quiet=()
    "$python" -m pip install --disable-pip-version-check "${quiet[@]}" \
      -r "$root/requirements/$level.txt" ||
      fail "pip could not install requirements/$level.txt; its message is above"
    # setuptools comes with torch: no second copy has to be fetched to build this one package.
    "$python" -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation \
      --editable "$root" || fail "pip could not install dualnet itself; its message is above"
    case $level in
      quickstart) included="quickstart" ;;
      test) included="quickstart test" ;;
      docs) included="quickstart docs" ;;
      *) included="quickstart test docs dev" ;;
    esac
    for level in $included; do
      echo "$wanted" >"$venv/.dualnet-$level"
    done
  fi
  exec 9>&-
}
