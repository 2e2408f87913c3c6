#!/usr/bin/env bash
# Build what pip installs, install it into an empty environment, and train with it.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/check_wheel.sh [DIST]

Builds the source distribution and the wheel, and checks that

  1. the wheel that is built from the source distribution is the one built from the repository,
     and has every shipped configuration, prototxt and script as the repository has it
  2. without PyTorch, commands that need none work, and the others say in one line what to install
  3. with PyTorch, in an empty folder, `dualnet new`, `train`, `evaluate` and `plot` do

in an environment made anew, with the versions of requirements/pins.txt. pip has to find PyTorch's
CPU build, or takes gigabytes: docs/development/dependencies.md. Both files are left in DIST, if it is given.
Takes one to two minutes.

Variables: DUALNET_PYTHON (a Python with build and setuptools 77 to use as it is), DUALNET_VENV
(default .venv), PYTHON (what .venv is made from, default python3).

Examples:
  scripts/check_wheel.sh
  scripts/check_wheel.sh dist
TEXT
}

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
  -*) echo "${0##*/}: unknown option '$1'; see --help" >&2; exit 2 ;;
esac

# shellcheck source=scripts/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
use_environment dev
unset PYTHONPATH DUALNET_CAFFE DUALNET_PYTHON DUALNET_VENV
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
step() { printf '\n== %s\n' "$*"; }
broken() {
  echo "${0##*/}: $*" >&2
  exit 1
}

step "building from a copy of the repository"
# In the repository itself, an earlier build/ and what git ignores could end up in the wheel.
mkdir "$work/tree"
tar -C "$root" --exclude=__pycache__ --exclude=results/quickstart -cf - .ci .dockerignore .gitignore \
  CHANGELOG.md Containerfile Containerfile.engine LICENSE MANIFEST.in README.md configs docs dualnet \
  prototxt pyproject.toml requirements results scripts setup.py tests | tar -C "$work/tree" -xf -
build() { (cd "$work" && "$python" -m build --no-isolation "$@" "$work/tree" >"$work/build.log" 2>&1); }
build --outdir "$work/dist" || { cat "$work/build.log"; broken "cannot be built"; }
build --wheel --outdir "$work/direct" || { cat "$work/build.log"; broken "the wheel cannot be built"; }
ls -l "$work/dist"
"$python" "$root/scripts/compare_wheels.py" "$work"/dist/*.whl "$work"/direct/*.whl "$root"
wheel=$(echo "$work"/dist/*.whl)
if [ -n "${1:-}" ]; then
  mkdir -p "$1"
  cp "$work"/dist/* "$1"
fi

step "installing it without PyTorch"
"$python" -m venv "$work/env"
export PATH="$work/env/bin:$PATH"
install() {
  python -m pip install --quiet --disable-pip-version-check -c "$root/requirements/pins.txt" "$@"
}
install "$wheel"
mkdir "$work/empty"
cd "$work/empty"
dualnet --version
dualnet new --list
dualnet new bare
dualnet experiment list | grep -q '^rules ' || broken "the experiments are not in the wheel"
for words in "train bare/dualnet.yaml" "caffe train" "doctor"; do
  code=0
  # shellcheck disable=SC2086  # several words
  dualnet $words >said 2>&1 || code=$?
  grep -q 'pip install "dualnet\[engine\]"' said || broken "dualnet $words does not say what to install"
  [ "$(grep -c . said)" = 1 ] || [ "$words" = doctor ] || broken "dualnet $words says more than one line"
  [ "$code" = 2 ] || [ "$words" = doctor ] || broken "dualnet $words: exit code $code, not 2"
  grep 'dualnet\[engine\]' said
done

step "installing PyTorch and scikit-learn beside it"
install "$wheel[engine,digits]"
du -sh "$work/env" | sed "s|$work/env|on disk|"

step "from an empty folder to a trained net"
dualnet new my-net
cd my-net
dualnet train --set train.max_iter=200
dualnet evaluate >evaluation.json
dualnet plot -o losses.png
cat evaluation.json
python - <<'PYTHON'
import json

result = json.load(open("evaluation.json"))
assert result["samples"] == 360 and result["accuracy"] > 0.8, result
assert open("losses.png", "rb").read(4) == b"\x89PNG"
PYTHON
scripts/run_net.sh 2 dualnet.yaml runs/nodes --set train.max_iter=5 2>net2.txt &
scripts/run_net.sh 1 dualnet.yaml runs/nodes --set train.max_iter=5 2>net1.txt || { cat net1.txt; exit 1; }
wait $! || { cat net2.txt; exit 1; }
cat net1.txt net2.txt | grep trained
printf '\nThe wheel and the source distribution are complete.\n'
