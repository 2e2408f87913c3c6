#!/usr/bin/env bash
# Fetch the real (BVLC) Caffe from Debian's packages into a folder, without root.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/install_caffe.sh [OPTIONS] [DIR]

Puts BVLC Caffe 1.0 (CPU), as Debian 11 "bullseye" packaged it, into DIR (default: .caffe in the
repository), with everything that dualnet needs beside it. No root, no container; any Debian or
Ubuntu machine with apt will do. About 180 MB are fetched, 0.7 GB stay on disk. Leaves

  DIR/bin/python            a Python 3.9 in which `import caffe` is BVLC Caffe
  DIR/bin/caffe             Caffe's command line
  DIR/share/caffe-tests     Caffe's own Python tests, from Debian's source package (cd there to run)
  DIR/share/caffe-examples  its models/ and examples/

DIR may be moved later. A second run finds the finished one and changes nothing; an interrupted run
leaves nothing behind that a later run could mistake for a whole one.

Options:
  --mirror URL    the Debian mirror to use (also: DUALNET_DEBIAN_MIRROR). Default: the ones in this
                  machine's apt sources, then the ones that Debian's debootstrap knows, its archive
                  of old releases among them
  --no-examples   leave out Caffe's tests, models and examples
  --force         install even if DIR is up to date
  -h, --help      this text

Exit codes: 0 done, 2 usage or a local fault, 69 the packages cannot be had on this machine.

Examples:
  scripts/install_caffe.sh
  scripts/install_caffe.sh ~/caffe && ~/caffe/bin/python -c 'import caffe; print(caffe.__version__)'
  DUALNET_CAFFE=bvlc .caffe/bin/python -m dualnet train configs/digits.yaml --run-dir runs/bvlc
  scripts/install_caffe.sh --mirror http://mirror.example.org/debian /opt/caffe
TEXT
}

suite=bullseye
packages=(
  python3-caffe caffe        # the library, its Python interface, its command line
  libopenblas0-pthread       # ten times as fast as the reference BLAS that is taken otherwise
  python3-yaml python3-lmdb python3-tqdm python3-matplotlib python3-h5py python3-pil # dualnet
  python3-sklearn            # the digits data set
  python3-pytest python3-hypothesis # the tests that run inside it
  python3-pydot graphviz     # caffe.draw
)
recipe=1 # raise it when the result of this script changes

name=${0##*/}
fail() {
  echo "$name: $*" >&2
  exit 2
}
unavailable() {
  echo "$name: $*" >&2
  cat >&2 <<'TEXT'
What works without it:
  - the engine, dualnet's own Caffe on PyTorch:  scripts/quickstart.sh  (DUALNET_CAFFE=engine)
  - a container with the real Caffe:  podman build -t dualnet .   (or docker; see Containerfile)
TEXT
  exit 69
}
step() { echo "[$1/5] $2"; }

force='' examples=yes mirror=${DUALNET_DEBIAN_MIRROR:-} target=''
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --force) force=yes ;;
    --no-examples) examples='' ;;
    --mirror)
      [ $# -ge 2 ] || fail "--mirror needs a URL"
      mirror=$2
      shift
      ;;
    --mirror=*) mirror=${1#*=} ;;
    -*) fail "unknown option '$1'; see --help" ;;
    *)
      [ -z "$target" ] || fail "one DIR, not two: '$target' and '$1'"
      target=$1
      ;;
  esac
  shift
done

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=$(realpath -ms -- "${target:-$repository/.caffe}")
case $target in
  # The dynamic loader's library path has no way to escape these.
  *[:\;]*) fail "DIR must not contain ':' or ';': $target" ;;
esac
parent=$(dirname "$target")
work=$target.tmp
mkdir -p "$parent" 2>/dev/null || :
[ -w "$parent" ] || fail "cannot write $parent; name another DIR"

# What this script would install; a finished DIR carries the same line.
wanted="recipe $recipe, $suite, ${packages[*]}${examples:+, examples}, for $repository"
marker=share/dualnet-caffe

# One installation into a folder at a time. The lock is on the parent folder: no file is left.
exec 8<"$parent"
if ! flock -n 8; then
  echo "waiting for another $name that installs into $parent"
  flock 8
fi

if [ -e "$target" ]; then
  if [ -z "$force" ] && [ "$(cat "$target/$marker" 2>/dev/null)" = "$wanted" ] &&
    "$target/bin/python" -c 'import caffe' 2>/dev/null; then
    echo "$target is up to date: $target/bin/python"
    exit 0
  fi
  if [ ! -e "$target/$marker" ] && [ -n "$(ls -A "$target")" ]; then
    fail "$target exists and was not made by this script; name another DIR or remove it"
  fi
fi

for tool in apt-get apt-config dpkg dpkg-deb; do
  command -v "$tool" >/dev/null ||
    unavailable "no $tool here: this script needs a Debian or Ubuntu machine"
done
architecture=$(dpkg --print-architecture)

rm -rf "$work"
mkdir "$work"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
log=$work/log

# --- 1. An apt of our own: its lists, cache and notion of what is installed live in $work. -------

# run_apt CONFIG COMMAND...: what it says goes to the log, which is shown if all mirrors fail.
run_apt() {
  local config=$1
  shift
  APT_CONFIG=$config "$@" >>"$log" 2>&1
}

mkdir -p "$work"/apt/{etc/apt.conf.d,etc/preferences.d,etc/trusted.gpg.d,cache/archives/partial} \
  "$work"/apt/state/lists/partial "$work"/host/{cache/archives/partial,state/lists/partial} \
  "$work/debs" "$work/tree/root"
: >"$work/apt/status"
# Proxies and the like are the machine's; hooks, pins and sources are not ours to run or obey.
apt-config dump | grep -E '^Acquire::(http|https|ftp|ForceIPv|Retries|Check-)' >"$work/apt.conf" || :
cat >>"$work/apt.conf" <<TEXT
Dir "$work/apt";
Dir::State "state";
Dir::State::status "$work/apt/status";
Dir::Cache "cache";
Dir::Etc "etc";
Dir::Etc::netrc "/etc/apt/auth.conf";
Dir::Etc::netrcparts "/etc/apt/auth.conf.d";
APT::Architecture "$architecture";
APT::Architectures { "$architecture"; };
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
TEXT
# For the machine's own packages: its sources and keys, but lists that we may write.
cat >"$work/host.conf" <<TEXT
Dir::State::lists "$work/host/state/lists";
Dir::Cache "$work/host/cache";
APT::Sandbox::User "root";
TEXT

# host_package NAME: unpack a package of this machine's distribution into $work/host.
host_package() {
  local deb
  if ! (cd "$work/debs" && run_apt /dev/null apt-get download "$1"); then
    # No lists yet, as in a fresh container. Its hooks may fail without root, the lists still come.
    run_apt "$work/host.conf" apt-get update || :
    (cd "$work/debs" && run_apt "$work/host.conf" apt-get download "$1") || return 1
  fi
  for deb in "$work/debs/$1"_*.deb; do
    dpkg-deb -x "$deb" "$work/host" && rm "$deb"
  done
}

step 1 "Looking for a Debian mirror that has $suite"
# Debian's keys: on Debian they are there, on Ubuntu a package has them, signed by Ubuntu's.
keyrings() {
  local found=() file
  for file in "$1"/usr/share/keyrings/debian-archive-{keyring,removed-keys}.{gpg,pgp}; do
    [ -r "$file" ] && found+=("$file")
  done
  (IFS=,; echo "${found[*]}")
}
keys=$(keyrings "")
if [ -z "$keys" ]; then
  host_package debian-archive-keyring ||
    unavailable "cannot get Debian's keys: package debian-archive-keyring is not to be had here"
  keys=$(keyrings "$work/host")
fi

candidates=()
if [ -n "$mirror" ]; then
  candidates=("$mirror")
else
  while read -r url; do candidates+=("$url"); done < <(
    # shellcheck disable=SC2016  # apt's own placeholder, not the shell's
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
      grep -E '/debian/?$' | sort -u
  )
fi

# use_mirror URL: point our apt at it and fetch the lists.
use_mirror() {
  {
    echo "deb [signed-by=$keys] $1 $suite main"
    [ -z "$examples" ] || echo "deb-src [signed-by=$keys] $1 $suite main"
  } >"$work/apt/etc/sources.list"
  run_apt "$work/apt.conf" apt-get update -o APT::Update::Error-Mode=any &&
    run_apt "$work/apt.conf" apt-cache show python3-caffe
}

chosen=''
try_candidates() {
  local url
  for url in "$@"; do
    if use_mirror "$url"; then
      chosen=$url
      return
    fi
    echo "      not at $url"
  done
}
try_candidates "${candidates[@]}"
if [ -z "$chosen" ] && [ -z "$mirror" ] && host_package debootstrap; then
  # Debian's installer knows the main mirror and the archive that old releases move to.
  mapfile -t candidates < <(
    grep -rhoE 'https?://[a-z.]+/debian\b' "$work/host/usr/sbin/debootstrap" \
      "$work/host/usr/share/debootstrap" | sort -u
  )
  try_candidates "${candidates[@]}"
fi
if [ -z "$chosen" ]; then
  tail -n 20 "$log" >&2
  unavailable "no Debian mirror with $suite can be reached from here; name one with --mirror"
fi

# --- 2. Download. apt resolves the dependencies and verifies every file. -------------------------

plan=$(APT_CONFIG=$work/apt.conf apt-get install --print-uris -qq -y "${packages[@]}" 2>>"$log") || {
  tail -n 20 "$log" >&2
  unavailable "$chosen has no whole $suite for $architecture"
}
step 2 "Downloading $(awk '{n++; s += $3} END {printf "%d packages, %.0f MB", n, s / 1e6}' <<<"$plan") from $chosen"
APT_CONFIG=$work/apt.conf apt-get install --download-only -qq -y "${packages[@]}" 2>>"$log" || {
  tail -n 20 "$log" >&2
  fail "the download failed; run this again"
}
if [ -n "$examples" ]; then
  (cd "$work/debs" && run_apt "$work/apt.conf" apt-get source --download-only caffe) || {
    tail -n 20 "$log" >&2
    fail "Caffe's source package could not be had; --no-examples does without"
  }
fi

# --- 3. Unpack. No maintainer script is run: nothing here needs one. -----------------------------

debs=("$work"/apt/cache/archives/*.deb)
step 3 "Unpacking ${#debs[@]} packages"
root=$work/tree/root
count=0
for deb in "${debs[@]}"; do
  dpkg-deb --fsys-tarfile "$deb" |
    tar -x -C "$root" --no-same-owner --no-same-permissions --exclude='./usr/share/doc/*' \
      --exclude='./usr/share/locale/*' --exclude='./usr/share/man/*' --exclude='./usr/share/proj/*'
  count=$((count + 1))
  [ -t 1 ] && printf '\r      %d/%d ' "$count" "${#debs[@]}"
done
[ -t 1 ] && printf '\r'
if [ -n "$examples" ]; then
  mkdir -p "$work/tree/share/caffe"
  # Kept in their original places: the test of caffe.draw finds the nets from where it stands.
  tar -xzf "$work"/debs/caffe_*.orig.tar.gz -C "$work/tree/share/caffe" --no-same-owner \
    --wildcards 'python/caffe/test/*' 'models/*' 'examples/*'
  ln -s caffe/python/caffe/test "$work/tree/share/caffe-tests"
  ln -s caffe "$work/tree/share/caffe-examples"
fi

# --- 4. Launchers. ------------------------------------------------------------------------------

step 4 "Writing bin/python and compiling bytecode"
loader=$(cd "$root" && ls lib/*/ld-2.31.so)
triplet=$(basename "$(dirname "$loader")")
site=$root/usr/lib/python3/dist-packages

# write_launcher FILE PROGRAM [LINE]: run PROGRAM of the tree with the tree's own loader and libraries.
# Nothing is exported, so that programs it starts (another Python, say) see the user's environment.
write_launcher() {
  cat >"$work/tree/$1" <<TEXT
#!/bin/sh
# Written by dualnet's scripts/install_caffe.sh. Finds the tree from its own place, so it may move.
here=\$(readlink -f -- "\$0") && root=\${here%/*/*}/root
libraries=\$root/usr/lib/$triplet/openblas-pthread:\$root/lib/$triplet:\$root/usr/lib/$triplet:\$root/usr/lib
${3:-}
exec "\$root/$loader" --library-path "\$libraries" "\$root/$2" "\$@"
TEXT
  chmod +x "$work/tree/$1"
}
mkdir "$work/tree/bin" "$work/tree/tools"
write_launcher bin/python usr/bin/python3.9 \
  'unset PYTHONHOME # of some other Python; this one finds its library beside itself'
write_launcher bin/caffe usr/bin/caffe
write_launcher tools/dot usr/bin/dot "export GVBINDIR=\"\$root/usr/lib/$triplet/graphviz\""
"$work/tree/tools/dot" -c >>"$log" 2>&1 || fail "graphviz cannot list its plugins; its message: $(tail -n 1 "$log")"
ln -s python "$work/tree/bin/python3"

# Debian's matplotlib looks for its data beside itself, then in the machine's /usr/share; for its
# settings only in the machine's /etc, where there are none, or those of another version.
ln -s ../../../../share/matplotlib/mpl-data "$site/matplotlib/mpl-data"
sed -i "s|yield '/etc/matplotlibrc'|yield os.path.join(get_data_path(), 'matplotlibrc')|" \
  "$site/matplotlib/__init__.py"

# Started by the loader, Python takes usr/bin/python3.9 for its own name; run under that name it
# would load the machine's libraries. Programs that start sys.executable must get the launcher.
cat >"$site/_dualnet_launcher.py" <<'TEXT'
"""Make sys.executable the launcher, and `dot` findable; imported at start-up by dualnet.pth."""
import os
import sys

_tree = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 5))
sys.executable = sys._base_executable = os.path.join(_tree, "bin", "python")
# For caffe.draw. Last, and a folder with nothing else: the machine's own programs come first.
_path = os.environ.get("PATH", os.defpath).split(os.pathsep)
if os.path.join(_tree, "tools") not in _path:
    os.environ["PATH"] = os.pathsep.join([*_path, os.path.join(_tree, "tools")])
TEXT
# The repository, so that `import dualnet` works; relative where DIR is inside it, so both may move.
case $target in
  "$repository"/*) path=$(realpath -ms --relative-to="$target/root/usr/lib/python3/dist-packages" "$repository") ;;
  *) path=$repository ;;
esac
printf '%s\nimport _dualnet_launcher\n' "$path" >"$site/dualnet.pth"

# Others may use DIR without being able to write there, and imports are slow without bytecode.
"$work/tree/bin/python" -m compileall -q -j 2 -s "$work/tree" -p "$target" \
  "$root/usr/lib/python3.9" "$site" >>"$log" 2>&1 || : # some files are templates, not modules

# --- 5. Try it, then put it in place. ------------------------------------------------------------

step 5 "Trying it"
MPLCONFIGDIR=$work "$work/tree/bin/python" - <<'TEXT' || fail "the installed Caffe does not work; its message is above"
import subprocess
import sys

import caffe
import google.protobuf
import numpy

# A child is started the way that multiprocessing and pytest do it.
child = [sys.executable, "-c", "import caffe, h5py, lmdb, matplotlib, PIL, sklearn, tqdm, yaml"]
subprocess.run(child, check=True)
print("      Caffe %s, %d layer types, Python %s, NumPy %s, protobuf %s" % (
    caffe.__version__, len(caffe.layer_type_list()), sys.version.split()[0],
    numpy.__version__, google.protobuf.__version__))
TEXT
mkdir -p "$work/tree/share"
echo "$wanted" >"$work/tree/$marker"
rm -rf "$target"
mv "$work/tree" "$target"
echo "done: $target/bin/python ($(du -sh "$target" | cut -f1))"
