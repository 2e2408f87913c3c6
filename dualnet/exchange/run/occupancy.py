"""Is a run's directory in use? Checked from outside, before anything there is touched.

The copies of one piece are kept apart by their leases (lease.py). Who starts all pieces, or trains
without an exchange, asks here first: a start that will be refused must not have written over the
output of those that run.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Optional

from dualnet.errors import StorageFailed
from dualnet.exchange.disk.storage import remedy, wait_for_room
from dualnet.exchange.paths import RunPaths
from dualnet.exchange.run.heartbeat import read_pulse
from dualnet.exchange.run.host import ProcessId
from dualnet.exchange.run.lease import NodeLock, epochs, highest_epoch, read_generation, taken
from dualnet.exchange.run.manifest import Manifest, read_key, read_manifest
from dualnet.exchange.settings import ExchangeSettings
from dualnet.fs import SYSTEM, Fs

__all__ = ["check_vacant", "sole"]

# A piece elsewhere may miss so many heartbeats and still count as alive.
_BEATS = 3
#: Piece to its latest epoch and the process behind that.
Doubtful = dict[str, tuple[int, Optional[ProcessId]]]


@contextmanager
def sole(run_dir: str, what: str, settings: ExchangeSettings, fs: Fs = SYSTEM) -> Iterator[None]:
    """Be the only one on this node that does `what` in a run directory, which need not exist yet.

    Args:
        run_dir: The run's directory.
        what: A word: "training", "single".
        settings: `lock_dir` and `storage_timeout_s`.
        fs: All I/O.

    Raises:
        Superseded: Another process does.
        StorageFailed: The lock's folder cannot be used.
    """
    name = hashlib.sha256(os.fsencode(os.path.realpath(run_dir))).hexdigest()[:32]
    lock = wait_for_room(
        lambda: NodeLock(fs, settings.lock_dir, name, what), settings.storage_timeout_s, fs
    )
    try:
        yield
    finally:
        lock.release()


def check_vacant(
    run_dir: str,
    settings: ExchangeSettings,
    pieces: Sequence[str] | None = None,
    fs: Fs = SYSTEM,
    process: ProcessId | None = None,
) -> None:
    """Check whether any of the pieces is taken; nothing is written.

    A process of this machine is checked at once; of one elsewhere the heartbeat is watched.
    One that is unchanged for three beats may be dead: whoever takes its place finds that out.

    Args:
        run_dir: The run's directory.
        settings: `dead_after_s`, and how often pieces beat.
        pieces: Which to check; default all that were ever started here.
        fs: All I/O.
        process: This process.

    Raises:
        Superseded: A piece is taken.
        StorageFailed, ManifestMismatch: The directory cannot be read, or is damaged.
    """
    paths = RunPaths.of_run(run_dir)
    try:
        key = read_key(fs, paths)
        manifest = read_manifest(fs, paths, key) if key is not None else None
        if manifest is not None:
            doubtful = _taken_or_doubtful(fs, paths, manifest, pieces, process)
            _watch(fs, paths, manifest, doubtful, settings)
    except FileNotFoundError:
        return  # nobody has been here
    except OSError as error:
        code = errno.errorcode.get(error.errno or 0, "EIO")
        raise StorageFailed(
            f"cannot read {paths.root}: {code} ({error.strerror}); {remedy(error)}"
        ) from error


def _taken_or_doubtful(
    fs: Fs,
    paths: RunPaths,
    manifest: Manifest,
    pieces: Sequence[str] | None,
    process: ProcessId | None,
) -> Doubtful:
    """Those of which this machine cannot tell whether they are alive."""
    doubtful: Doubtful = {}
    for piece, epoch in epochs(fs, paths).items():
        if pieces is not None and piece not in pieces:
            continue
        holder = read_generation(fs, paths, manifest, piece, epoch)
        alive = holder.alive(process or ProcessId.current()) if holder is not None else None
        pulse = read_pulse(fs, paths, manifest.key, manifest.run_id.hex(), piece, epoch)
        if alive is False or (pulse is not None and pulse.ended):
            continue
        if alive:
            raise taken(piece, epoch, holder)
        doubtful[piece] = (epoch, holder)
    return doubtful


def _watch(
    fs: Fs,
    paths: RunPaths,
    manifest: Manifest,
    doubtful: Doubtful,
    settings: ExchangeSettings,
) -> None:
    run = manifest.run_id.hex()
    first: dict[str, str] = {}
    until_s = fs.monotonic() + min(settings.dead_after_s, _BEATS * settings.beat_s)
    while doubtful:
        for piece, (epoch, holder) in list(doubtful.items()):
            highest_epoch(fs, paths, piece)  # makes an NFS client ask the server
            pulse = read_pulse(fs, paths, manifest.key, run, piece, epoch)
            if pulse is not None and pulse.ended:
                del doubtful[piece]
            elif pulse is not None and first.setdefault(piece, pulse.nonce) != pulse.nonce:
                raise taken(piece, epoch, holder)
        if not doubtful or fs.monotonic() >= until_s:
            return
        fs.sleep(min(1.0, settings.beat_s / 4))
