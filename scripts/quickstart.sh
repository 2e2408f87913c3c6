#!/usr/bin/env bash
# From nothing to a trained dual net and a picture of its loss curves, in one command.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/quickstart.sh [DUALNET TRAIN OPTIONS]

Makes .venv, writes scikit-learn's digits as a data set, trains net1 and net2 on it as two local
processes (CPU, one to four minutes), evaluates them, and leaves

  runs/quickstart-TIME/              logs, snapshots, resolved configuration
  results/quickstart/losses.png      loss curves of both nets
  results/quickstart/summary.json    accuracy, loss, sample count, seconds, where the run is

Needs Python 3.9 or newer with venv, and a network or a pip cache on the first run.

Variables: DUALNET_PYTHON (a Python to use as it is), DUALNET_VENV (default .venv),
PYTHON (what .venv is made from, default python3), DUALNET_CAFFE (auto, engine or bvlc).

Examples:
  scripts/quickstart.sh
  scripts/quickstart.sh --set train.max_iter=100
  DUALNET_PYTHON=.caffe/bin/python DUALNET_CAFFE=bvlc scripts/quickstart.sh    # on the real Caffe
TEXT
}

case "${1:-}" in
  -h | --help) usage; exit 0 ;;
esac

# shellcheck source=scripts/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
step() { printf '\n== %s\n' "$*"; }

step "1/4 environment"
use_environment quickstart
cd "$root"
echo "$("$python" --version) at $python"

step "2/4 data: scikit-learn's digits in data/digits"
# mean.binaryproto is written last: where it is, the data set is whole.
if [ -e data/digits/mean.binaryproto ]; then
  echo "there already"
else
  "$python" -m dualnet data digits --force
fi

run_dir=runs/quickstart-$(date +%Y%m%d-%H%M%S)
results=results/quickstart
step "3/4 training net1 and net2 in $run_dir"
start=$SECONDS
"$python" -m dualnet train configs/digits.yaml --run-dir "$run_dir" "$@"
seconds=$((SECONDS - start))

step "4/4 evaluation"
mkdir -p "$results"
"$python" -m dualnet evaluate "$run_dir" >"$run_dir/evaluation.json"
"$python" -m dualnet plot "$run_dir" -o "$results/losses.png"
"$python" - "$run_dir" "$seconds" "$results/summary.json" <<'PYTHON'
import json
import platform
import sys

run_dir, seconds, path = sys.argv[1:]
with open(run_dir + "/evaluation.json") as stream:
    summary = json.load(stream)
summary.update(run_dir=run_dir, training_s=int(seconds), python=platform.python_version())
with open(path, "w") as stream:
    json.dump(summary, stream, indent=2, allow_nan=False)
    stream.write("\n")


def shown(name):
    """A number in words; one that is not finite is null, and named in `not_finite`."""
    if summary[name] is None:
        return summary.get("not_finite", {}).get(name, "unknown")
    return "%.4f" % summary[name]


print("\nTrained in %s s: test accuracy %s, loss %s, on %d samples."
      % (seconds, shown("accuracy"), shown("loss"), summary["samples"]))
PYTHON
cat <<TEXT
Loss curves:  $results/losses.png
Summary:      $results/summary.json
Logs:         $run_dir/net1.log, $run_dir/net2.log
Next:         configs/digits.yaml is the run's configuration; ${python#"$root"/} -m dualnet --help
TEXT
