#!/usr/bin/env bash
# Build the documentation site.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/build_docs.sh [DIR]

Builds the documentation site into DIR (default: build/site) with Sphinx, in .venv, which is made on
the first run. Open DIR/index.html; no web server and no network are needed. A warning, such as a
link to a missing page or a configuration key without a comment, is an error (exit code 1).

Variables: DUALNET_PYTHON (a Python to use as it is), DUALNET_VENV (default .venv),
PYTHON (what .venv is made from, default python3).

Examples:
  scripts/build_docs.sh
  scripts/build_docs.sh /tmp/site
TEXT
}

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
  -*) echo "${0##*/}: unknown option '$1'; see --help" >&2; exit 2 ;;
esac

# shellcheck source=scripts/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
site=$(realpath -m -- "${1:-$root/build/site}")
use_environment docs
if [ -e "$site" ]; then
  # Pages that are no longer made must not stay; nor must a folder that is no site go.
  [ -e "$site/.buildinfo" ] || rmdir -- "$site" 2>/dev/null || fail "$site is there and no site"
  rm -rf -- "$site"
fi
cd "$root"
doctrees=$(mktemp -d)
trap 'rm -rf "$doctrees"' EXIT
"$python" -m sphinx -b html -c docs -d "$doctrees" -n -W --keep-going --quiet . "$site"
echo "Built $(find "$site" -name '*.html' | wc -l) pages: $site/index.html"
