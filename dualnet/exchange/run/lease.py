"""One process per piece, and proof of it.

Two fences. A lock on the node's own disk refuses a second copy on the same node at once; the kernel
frees it when the process dies. For copies on different nodes, each start makes the next *generation
file* with link(), which exactly one of them can; its number is the process's epoch. Every record
and file carries the epoch and readers drop lower ones, so a process that was thought dead and wakes
up does no harm: it notices its successor's file and leaves.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Callable

from dualnet.children import undo_in_children
from dualnet.errors import StorageFailed, Superseded
from dualnet.exchange.disk.publish import Publisher
from dualnet.exchange.disk.records import BadRecord, seal, unseal
from dualnet.exchange.disk.safefile import Damaged, read_small
from dualnet.exchange.disk.storage import remedy
from dualnet.exchange.paths import RunPaths
from dualnet.exchange.run.heartbeat import Heartbeat, Pulse, read_pulse
from dualnet.exchange.run.host import ProcessId
from dualnet.exchange.run.manifest import Manifest
from dualnet.fs import Fs

__all__ = [
    "GENERATION_LIMIT", "Lease", "NodeLock", "describe_holder", "epochs", "highest_epoch",
    "read_generation", "taken",
]  # fmt: skip

GENERATION_LIMIT = 1024
# Time between two checks whether this process was superseded, and between two reads of the
# heartbeat of the process that a starting one would replace.
_POLL_S = 1.0
# Any user may create any name in /tmp: one that another user has taken must not stop us.
_DEFAULT_FOLDERS = ("/tmp/dualnet-{uid}", *(f"/tmp/dualnet-{{uid}}-{n}" for n in range(2, 10)))


class NodeLock:
    """The lock against a second copy on this node.

    Args:
        fs: all I/O.
        folder: on the node's own disk; made if missing. "" means /tmp/dualnet-<uid> or, if another
            user has taken that name, the first of /tmp/dualnet-<uid>-2 to -9 that is free or ours.
        run: run id in hex.
        piece: the piece.

    Raises:
        Superseded: another process of this node holds it.
        StorageFailed: the folder cannot be used.
    """

    def __init__(self, fs: Fs, folder: str, run: str, piece: str) -> None:
        self._fs = fs
        self._path = folder or _DEFAULT_FOLDERS[0].format(uid=os.geteuid())
        self._fd: int | None = None
        undo_in_children(self._leave_to_parent)
        try:
            self._path = os.path.join(self._folder(folder), f"{run}.{piece}.lock")
            self._take(piece)
        except OSError as error:
            raise StorageFailed(
                f"cannot lock {self._path}: {error.strerror}; set exchange.lock_dir to a folder on "
                f"this node's own disk"
            ) from error

    def _folder(self, wanted: str) -> str:
        """The folder that was asked for, or the first of the usual ones that is ours."""
        names = [wanted] if wanted else [n.format(uid=os.geteuid()) for n in _DEFAULT_FOLDERS]
        for name in names:
            try:
                self._fs.mkdir(name, 0o700)
                return name
            except FileExistsError:
                status = self._fs.lstat(name)
                if status.st_uid == os.geteuid() and stat.S_ISDIR(status.st_mode):
                    return name
        what = "belongs to" if stat.S_ISDIR(status.st_mode) else "is no folder, and made by"
        raise StorageFailed(
            f"{names[0]}: {what} user {status.st_uid}, this is user {os.geteuid()}; set "
            f"exchange.lock_dir to a folder of your own on this node's disk"
        )

    def _take(self, piece: str) -> None:
        fs = self._fs
        while True:
            fd = fs.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                fs.flock(fd)
                # The holder before us removes the file when it leaves; a lock on a removed file
                # excludes nobody.
                ours, there = fs.fstat(fd), self._inode()
            except BlockingIOError:
                fs.close(fd)
                raise Superseded(
                    f"another {piece} of this run is running on this node (lock {self._path}); "
                    f"stop it first, or use another run directory"
                ) from None
            except BaseException:
                fs.close(fd)
                raise
            if there == ours.st_ino:
                self._fd = fd
                return
            fs.close(fd)

    def _inode(self) -> int | None:
        try:
            return self._fs.lstat(self._path).st_ino
        except FileNotFoundError:
            return None

    def _leave_to_parent(self) -> None:
        """In a process that users' code has forked: it must not hold the lock when we are gone."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    def release(self) -> None:
        """Let the next process in."""
        if self._fd is not None:
            try:
                self._fs.unlink(self._path)
            except OSError:
                pass  # the lock is what counts
            fd, self._fd = self._fd, None
            try:
                self._fs.close(fd)
            except OSError:
                pass  # closed all the same


def read_generation(
    fs: Fs, paths: RunPaths, manifest: Manifest, piece: str, epoch: int
) -> ProcessId | None:
    """The process behind a generation file; None if the file is damaged or of another run.

    Raises:
        OSError: from the file system; FileNotFoundError if there is no such generation.
    """
    try:
        data = read_small(fs, paths.generation(piece, epoch), GENERATION_LIMIT)
        fields = unseal(manifest.key, "generation", data, GENERATION_LIMIT)
    except (Damaged, BadRecord):
        return None
    named = (fields.get("run"), fields.get("piece"), fields.get("epoch"))
    if named != (manifest.run_id.hex(), piece, epoch):
        return None
    return ProcessId.from_fields(fields)


def describe_holder(holder: ProcessId | None) -> str:
    """The process behind a generation, for messages; None is one that cannot be identified."""
    return str(holder) if holder is not None else "a process that cannot be identified"


def taken(piece: str, epoch: int, holder: ProcessId | None) -> Superseded:
    """The error of whoever finds a piece's latest process alive."""
    return Superseded(
        f"{piece} of this run is running already: {describe_holder(holder)}, epoch {epoch}; stop "
        "it first, or use another run directory"
    )


class Lease:
    """The right to be `piece` in a run, with its epoch; made by `Lease.take`.

    Attributes:
        epoch: the fencing token.
    """

    def __init__(self, fs: Fs, paths: RunPaths, piece: str, epoch: int) -> None:
        self._fs = fs
        self._paths = paths
        self._piece = piece
        self.epoch = epoch
        self._checked_s = fs.monotonic()

    @classmethod
    def take(
        cls,
        fs: Fs,
        paths: RunPaths,
        manifest: Manifest,
        piece: str,
        process: ProcessId,
        dead_after_s: float,
        on_wait: Callable[[str], None] = lambda text: None,
    ) -> Lease:
        """Become the next generation of `piece`.

        The holder before must have left or be dead: provably, if it ran on this machine, or because
        its heartbeat is unchanged for `dead_after_s` on our clock.

        Args:
            on_wait: called with what is waited for.

        Raises:
            Superseded: the piece is taken.
            StorageFailed: the directory cannot be read or written.
        """
        while True:
            try:
                epoch = highest_epoch(fs, paths, piece)
                if epoch:
                    _await_end(fs, paths, manifest, piece, epoch, process, dead_after_s, on_wait)
                if _create(fs, paths, manifest, piece, epoch + 1, process):
                    return cls(fs, paths, piece, epoch + 1)
            except OSError as error:
                code = errno.errorcode.get(error.errno or 0, "EIO")
                raise StorageFailed(
                    f"cannot become {piece} in {paths.root}: {code} ({error.strerror}); "
                    f"{remedy(error)}"
                ) from error
            # Another process created this generation first: retry, which raises Superseded if it
            # is alive.

    def check(self, now: bool = False) -> None:
        """Check, at most once a second, whether a successor has started.

        Args:
            now: check in any case.

        Raises:
            Superseded: it has.
            StorageFailed: the directory was removed, or another one put in its place.
        """
        time_s = self._fs.monotonic()
        if not now and time_s - self._checked_s < _POLL_S:
            return
        self._checked_s = time_s
        try:
            _refresh(self._fs, self._paths.root)
            if _exists(self._fs, self._paths.generation(self._piece, self.epoch + 1)):
                raise Superseded(
                    f"{self._piece}: epoch {self.epoch + 1} has taken over from this process "
                    f"(epoch {self.epoch}); nothing to do, the run goes on without it"
                )
            if not _exists(self._fs, self._paths.generation(self._piece, self.epoch)):
                raise FileNotFoundError(errno.ENOENT, "generation file")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise StorageFailed(
                f"{self._paths.root}: removed or replaced while {self._piece} was running; restore "
                f"it and start again"
            ) from error
        except OSError:
            pass  # a read or write that matters will raise it


def _refresh(fs: Fs, root: str) -> None:
    """Make an NFS client fetch the directory's attributes, which drops stale entries."""
    fs.close(fs.open(root, os.O_RDONLY | os.O_DIRECTORY))


def _exists(fs: Fs, path: str) -> bool:
    try:
        fs.lstat(path)
    except FileNotFoundError:
        return False
    return True


def highest_epoch(fs: Fs, paths: RunPaths, piece: str) -> int:
    """How often a piece has been started, 0 for never.

    Raises:
        OSError: from the file system; FileNotFoundError if there is no exchange directory.
    """
    return epochs(fs, paths).get(piece, 0)


def epochs(fs: Fs, paths: RunPaths) -> dict[str, int]:
    """Pieces that have been started, and how often.

    Raises:
        OSError: from the file system; FileNotFoundError if there is no exchange directory.
    """
    _refresh(fs, paths.root)
    found = [entry for entry in map(paths.parse_generation, fs.listdir(paths.root)) if entry]
    return dict(sorted(found))


def _await_end(
    fs: Fs,
    paths: RunPaths,
    manifest: Manifest,
    piece: str,
    epoch: int,
    process: ProcessId,
    dead_after_s: float,
    on_wait: Callable[[str], None],
) -> None:
    """Return when the holder of `epoch` is gone; raise Superseded if it is not."""
    holder = read_generation(fs, paths, manifest, piece, epoch)
    alive = holder.alive(process) if holder is not None else None
    if alive is False:
        return
    run = manifest.run_id.hex()
    first = read_pulse(fs, paths, manifest.key, run, piece, epoch)
    if first is not None and first.ended:
        return
    if alive:
        raise taken(piece, epoch, holder)
    who = describe_holder(holder)
    on_wait(
        f"{piece} epoch {epoch} ({who}) may be alive; watching its heartbeat {dead_after_s:g} s"
    )
    # Count at most two poll intervals per poll: if this process or the server was suspended, the
    # missing heartbeat proves nothing.
    unchanged_s = 0.0
    while unchanged_s < dead_after_s:
        before_s = fs.monotonic()
        fs.sleep(min(_POLL_S, dead_after_s / 4))
        _refresh(fs, paths.root)
        pulse = read_pulse(fs, paths, manifest.key, run, piece, epoch)
        if pulse is not None and pulse.ended:
            return
        if pulse is not None and (first is None or pulse.nonce != first.nonce):
            raise taken(piece, epoch, holder)
        unchanged_s += min(fs.monotonic() - before_s, 2 * _POLL_S)


def _create(
    fs: Fs,
    paths: RunPaths,
    manifest: Manifest,
    piece: str,
    epoch: int,
    process: ProcessId,
) -> bool:
    """Make the files of a new epoch, the generation file last; False if another copy did."""
    run = manifest.run_id.hex()
    # Unchanged until the generation file exists, and made only if absent: whichever of several
    # competitors makes it, it is the same, and no late loser can overwrite the winner's.
    initial_pulse = Pulse(run, piece, epoch).seal(manifest.key)
    fields = {"run": run, "piece": piece, "epoch": epoch, "nonce": fs.random(8).hex()}
    content = seal(manifest.key, "generation", {**process.fields(), **fields}, GENERATION_LIMIT)
    publisher = Publisher(fs, paths, piece, epoch)
    try:
        publisher.create(paths.heartbeat(piece, epoch), initial_pulse)
        return publisher.create(paths.generation(piece, epoch), content)
    except FileNotFoundError:
        if _exists(fs, paths.root):
            return False  # the winner has cleaned our temporary file away
        raise
    except OSError as error:
        try:
            ours = read_small(fs, paths.generation(piece, epoch), GENERATION_LIMIT) == content
        except (OSError, Damaged):
            ours = False
        if ours:
            # We hold the lease but cannot continue: write so, or the next start would wait for us.
            path = paths.heartbeat(piece, epoch)
            pulse = Pulse(run, piece, epoch)
            Heartbeat(fs, path, manifest.key, pulse, 1.0, sync=False).close(f"failed: {error}")
        raise
