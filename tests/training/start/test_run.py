"""A start on a full disk: it waits for room, or gives up and can be made again."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from dualnet.backend import provider
from dualnet.errors import NeighbourNeverCame, StorageFailed
from dualnet.exchange.disk import storage
from dualnet.fs import Fs
from dualnet.rundir import RunDir
from dualnet.training.start import run as run_module
from tests.training.pieces import load
from tests.training.start.test_traffic import end
from tests.training.starting import train_one, train_single
from tests.training.test_restart import SHORT, Crash, equal, one_by_one, run_chain

__all__ = ["one_by_one"]  # a fixture


class Disk:
    """Where making a file fails or not, as `has_room` says.

    Attributes:
        full: how often it has failed.
    """

    def __init__(self, monkeypatch, has_room):
        self.full = 0
        real = Fs.open

        def open_file(fs, path, flags, mode=0o600):
            if flags & os.O_CREAT and not os.path.exists(path) and not has_room():
                self.full += 1
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
            return real(fs, path, flags, mode)

        monkeypatch.setattr(Fs, "open", open_file)


def fickle(monkeypatch):
    """A disk that has room for one file in two, and short pauses."""
    monkeypatch.setattr(storage, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(storage, "_LONGEST_PAUSE_S", 0.004)
    chance = random.Random(74)
    return Disk(monkeypatch, lambda: chance.random() < 0.5)


def test_a_disk_that_is_full_now_and_then_changes_nothing(workdir, monkeypatch):
    run_chain("whole", *SHORT)
    disk = fickle(monkeypatch)
    run_chain("parts", *SHORT, net1=(1, 6, 9), net2=(1, 7))
    assert disk.full > 50
    equal("whole", "parts")


def test_the_single_net_waits_for_room_too(workdir, monkeypatch):
    train_single(load(*SHORT), RunDir("whole"))
    disk = fickle(monkeypatch)

    def arm(session):
        def look(done):
            if done == 5:
                raise Crash

        session.on_progress = look

    with pytest.raises(Crash):
        train_single(load(*SHORT), RunDir("parts"), progress=arm)
    train_single(load(*SHORT), RunDir("parts"))
    assert disk.full > 10
    equal("whole", "parts", ["single"])


@pytest.mark.parametrize("snapshot", [0, 2])
def test_a_start_that_found_no_room_leaves_nothing_in_the_way(workdir, monkeypatch, snapshot):
    """It gives up before its first file, its second, and so on, until it waits for net2."""
    settings = (*SHORT, f"train.snapshot={snapshot}")
    run_chain("whole", *settings)
    hasty = load(*settings, "exchange.storage_timeout_s=0", "exchange.partner_timeout_s=0")
    places = set()
    with monkeypatch.context() as patch:
        left = 0

        def has_room():
            nonlocal left
            left -= 1
            return left >= 0

        Disk(patch, has_room)
        for room in range(40):
            left = room
            try:
                train_one(hasty, RunDir("parts").piece("net1"))
            except StorageFailed as error:
                assert error.exit_code == 74 and "\n" not in str(error)
                places.add(str(error).split(":")[0])
            except NeighbourNeverCame:
                break
            left_over = [name for _, _, names in os.walk("parts") for name in names]
            assert not [name for name in left_over if "tmp" in name]
            # Else the next start would not write it again, and come two files further at once.
            Path("parts/net1_inputs.json").unlink(missing_ok=True)
    assert room >= 7 and len(places) >= 5, places
    run_chain("parts", *settings)
    equal("whole", "parts")


#: In a mount name space of its own, on a tmpfs of its own: $1 is where, $2 is Python.
REAL = """
    disk=$1 python=$2 run=$1/run
    mount -t tmpfs -o size=32m tmpfs "$disk" || exit 99
    fill() { dd if=/dev/zero of="$disk/ballast" bs=64k 2> /dev/null; }
    dualnet() {
      exec "$python" -m dualnet "$1" configs/digits.yaml --run-dir "$run" --set train.snapshot=5 \
        --set train.max_iter=400 --set train.display=1 --set "exchange.storage_timeout_s=$2"
    }
    until_it_says() { until grep -qs "$1" "$2"; do kill -0 $! || exit 98; sleep 0.1; done; }
    fill
    (dualnet train 1 2> given-up); echo "given up: $?, $(ls -A "$run" | wc -l) files"
    dualnet train 300 2> waited & launcher=$!
    until_it_says 'waiting for room' waited
    rm "$disk/ballast"
    until_it_says 'Iteration 12 (' "$run/net2.log"
    kill -TERM $launcher; wait $launcher; echo "stopped: $?"
    fill
    (dualnet net1 1 2> given-up-again); echo "given up again: $?"
    find "$run" -name '*tmp*'
    dualnet net1 300 2> waited-again & net1=$!
    until_it_says 'waiting for room' waited-again
    rm "$disk/ballast"
    (dualnet net2 300 2> /dev/null); echo "net2: $?"
    wait $net1; echo "net1: $?"
    "$python" -m dualnet digest "$run"
    umount "$disk"
"""


@pytest.mark.slow
def test_a_real_disk_that_is_full(dualnet, workdir):
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    mounting = ["mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if not shutil.which("unshare") or subprocess.run([*unshare, *mounting]).returncode:
        pytest.skip("no tmpfs may be mounted here (user name spaces are off)")
    (workdir / "disk").mkdir()
    script = textwrap.dedent(REAL)
    done = subprocess.run(
        [*unshare, "bash", "-c", script, "bash", workdir / "disk", sys.executable],
        stdout=subprocess.PIPE, text=True, timeout=120,
    )  # fmt: skip
    *lines, last = done.stdout.splitlines()
    assert lines == [
        "given up: 74, 0 files", "stopped: 0", "given up again: 74", "net2: 0", "net1: 0",
    ]  # fmt: skip
    for said, why in (
        ("given-up", "disk/run: cannot write the run directory: No space left on device"),
        ("given-up-again", "cannot become net1 in "),
    ):
        final = Path(said).read_text().splitlines()[-1]
        assert final.startswith("dualnet: ") and why in final
    settings = ["--set", "train.snapshot=5", "--set", "train.max_iter=400"]
    whole = dualnet("train", "configs/digits.yaml", "--run-dir", "whole", *settings)
    assert whole.returncode == 0
    assert last == dualnet("digest", "whole").stdout.splitlines()[-1]


# When the nets are built, Caffe tries whether it can write its snapshots.


def refuse(monkeypatch, code, times):
    """The engine's try fails with an error of the system, so often."""
    if provider != "engine":
        pytest.skip("BVLC Caffe tries it in C++, where nothing can be put in its place")
    left = [times]

    def open_file(path, *mode, **settings):
        if str(path).endswith(".tempfile") and left[0]:
            left[0] -= 1
            raise OSError(code, os.strerror(code), path)
        return open(path, *mode, **settings)

    monkeypatch.setattr("dualnet.engine.formats.snapshot.open", open_file, raising=False)
    return left


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_inode_when_the_nets_are_built_is_waited_for(workdir, monkeypatch, code):
    train_single(load(*SHORT), RunDir("whole"))
    monkeypatch.setattr(storage, "FIRST_PAUSE_S", 0.001)
    left = refuse(monkeypatch, code, 3)
    train_single(load(*SHORT), RunDir("parts"))
    assert left == [0]
    equal("whole", "parts", ["single"])


@pytest.mark.parametrize(
    ("code", "timeout_s", "said"),
    [
        (errno.ENOSPC, 0, "No space left on device; free space"),
        (errno.EROFS, 300, "Read-only file system; the file system became"),
        (errno.EIO, 300, "Input/output error; check the disk, then start"),
        (errno.EMFILE, 300, "Too many open files; raise the limit of open files"),
    ],
)
@pytest.mark.parametrize("name", ["net1", "single"])
def test_a_disk_that_fails_when_the_nets_are_built_is_no_wrong_config(
    workdir, monkeypatch, name, code, timeout_s, said
):
    refuse(monkeypatch, code, 1000)
    config = load(*SHORT, f"exchange.storage_timeout_s={timeout_s}")
    with pytest.raises(StorageFailed, match=rf"^{name}: .*{said}"):
        train_one(config, RunDir("run").piece(name)) if name == "net1" else train_single(
            config, RunDir("run")
        )


def test_a_prefix_that_does_not_exist_is_a_wrong_config(workdir, monkeypatch):
    refuse(monkeypatch, errno.ENOENT, 1000)
    with pytest.raises(Exception, match="cannot write to snapshot prefix") as caught:
        train_single(load(*SHORT), RunDir("run"))
    assert not isinstance(caught.value, (StorageFailed, OSError))


# The end: complete before the next start of the piece may take its place.


class LastWords:
    """A channel that notes what is asked of it at the end."""

    neighbour = "net2"
    on_wait = None

    def __init__(self, notes):
        self.notes = notes

    def progress(self):
        self.notes.append("is it still ours")

    def close(self, state, wait=True):
        self.notes.append(f"close {state}")

    def report(self, state):
        pass


@pytest.fixture
def at_the_end(tmp_path, monkeypatch):
    """Runs net1 up to its end with a channel that makes notes; `meanwhile` comes with the lease."""

    def make(meanwhile=lambda: None):
        notes = []

        @contextmanager
        def membership(*arguments):
            meanwhile()
            yield LastWords(notes)

        def mark_complete():
            notes.append("complete")
            end(tmp_path, "net1")

        checkpoints = SimpleNamespace(mark_complete=mark_complete)
        channel = SimpleNamespace(neighbour="net2", drain=lambda: notes.append("drain"))
        links = SimpleNamespace(channels=[channel])
        session = SimpleNamespace(checkpoints=checkpoints, links=links)
        resolved = SimpleNamespace(
            name="net1",
            solver=SimpleNamespace(snapshot=4),
            max_iter=8,
            display=0,
            ends=["above"],
            dir=RunDir(str(tmp_path)).piece("net1"),
        )
        monkeypatch.setattr(run_module, "resolve", lambda *words: resolved)
        monkeypatch.setattr(run_module, "claim", lambda *words, fs: SimpleNamespace(run="1"))
        monkeypatch.setattr(run_module, "Membership", membership)
        monkeypatch.setattr(run_module._Start, "train_with", lambda *words: session)
        return train_one(load(), RunDir(str(tmp_path)).piece("net1")), notes

    return make


def test_a_piece_is_complete_before_another_start_may_take_its_place(at_the_end):
    session, notes = at_the_end()
    assert session is not None
    assert notes == ["drain", "is it still ours", "complete", "close done"]


def test_a_start_that_waited_while_the_one_before_came_to_its_end_has_nothing_to_do(
    tmp_path, at_the_end
):
    session, notes = at_the_end(lambda: end(tmp_path, "net1"))
    assert session is None and notes == ["close done"]
    assert not (tmp_path / "net1.log").exists()
