"""Making a file appear whole or not at all.

A file is written under a name that nobody reads and then renamed (or linked) to its own. A crash at
any point leaves the old state, or the new one, and perhaps a temporary file that the next start
removes. After an error of write, fsync or close the temporary file is thrown away: the kernel may
have marked the lost pages clean, so a second fsync would succeed and prove nothing.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Callable

from dualnet.errors import StorageFailed
from dualnet.exchange.disk.safefile import Damaged, open_regular, write_all
from dualnet.exchange.paths import Folder
from dualnet.fs import Fs

__all__ = ["Publisher", "make_folder", "remove_temporaries"]

_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class Publisher:
    """Publishes files of one piece and epoch. Methods raise OSError and leave nothing behind.

    Args:
        fs: all I/O.
        paths: the folder.
        piece: who publishes.
        epoch: 0 before the process has one.
    """

    def __init__(self, fs: Fs, paths: Folder, piece: str, epoch: int = 0) -> None:
        self._fs = fs
        self._paths = paths
        self._piece = piece
        self.epoch = epoch

    def replace(self, target: str, content: bytes, sync: bool) -> None:
        """Make `target` hold `content`, replacing what is there.

        Args:
            sync: bring file and directory to stable storage before returning.
        """
        self.replace_with(target, lambda fd: self._write(fd, content), sync)

    def replace_with(self, target: str, write: Callable[[int], bytes], sync: bool) -> None:
        """As `replace`, with content that `write` puts into an open descriptor.

        Args:
            write: writes everything and returns its last bytes, by which the file is recognised if
                the rename is reported as failed although it was done.
        """
        temporary, ending, size = self._make_temporary(write, sync)
        try:
            self._fs.rename(temporary, target)
        except OSError:
            # A retried rename reports ENOENT although the first try was done, where the reply to
            # that was lost on its way from an NFS server (rename(2), BUGS).
            if not self._is_there(target, ending, size):
                self._discard(temporary)
                raise
        if sync:
            self.sync_directory()

    def overwrite(self, target: str, content: bytes) -> None:
        """Make `target`, which is as long as `content`, hold it, in place and in one call.

        Only for local file systems (one page cache) and content that carries an HMAC: a reader that
        sees a partial write rejects it and polls again. Within a page the kernel copies all of it
        or nothing, so that no SIGKILL cuts it in two. Faster than rename, which makes ext4 flush
        the file at each message (auto_da_alloc in ext4(5)).
        """
        fd = self._fs.open(target, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            count = self._fs.pwrite(fd, content, 0)
            if count != len(content):
                raise OSError(errno.EIO, f"write took {count} of {len(content)} bytes")
        finally:
            self._fs.close(fd)

    def create(self, target: str, content: bytes, sync: bool = True) -> bool:
        """Make `target` hold `content` unless it exists already.

        Returns:
            True if this call made it, False if it was there.
        """
        temporary, _, _ = self._make_temporary(lambda fd: self._write(fd, content), sync)
        try:
            try:
                self._fs.link(temporary, target)
            except OSError as error:
                # The reply may have been lost: with two names the link is there all the same.
                if self._links(temporary) != 2:
                    if error.errno == errno.EEXIST:
                        return False
                    raise
        finally:
            self._discard(temporary)
        if sync:
            self.sync_directory()
        return True

    def sync_directory(self) -> None:
        """Bring the directory's entries to stable storage."""
        _sync(self._fs, self._paths.root)

    def _write(self, fd: int, content: bytes) -> bytes:
        write_all(self._fs, fd, memoryview(content))
        return content[-256:]

    def _make_temporary(self, write: Callable[[int], bytes], sync: bool) -> tuple[str, bytes, int]:
        nonce = self._fs.random(8).hex()
        path = self._paths.temporary(self._piece, self.epoch, nonce)
        fd = self._fs.open(path, _CREATE_FLAGS, 0o600)
        is_open = True
        try:
            ending = write(fd)
            if sync:
                self._fs.fsync(fd)
            size = self._fs.fstat(fd).st_size
            # Whatever close() reports, the descriptor is gone: never close it again.
            is_open = False
            self._fs.close(fd)
        except BaseException:
            if is_open:
                try:
                    self._fs.close(fd)
                except OSError:
                    pass  # the first error is the one that is raised
            self._discard(path)
            raise
        return path, ending, size

    def _links(self, path: str) -> int:
        """How many names a file has; opening it makes an NFS client ask the server."""
        fd = self._fs.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            return self._fs.fstat(fd).st_nlink
        finally:
            self._fs.close(fd)

    def _discard(self, path: str) -> None:
        try:
            self._fs.unlink(path)
        except OSError:
            pass  # deleted already, or left for the next start to delete

    def _is_there(self, path: str, ending: bytes, size: int) -> bool:
        """Whether `path` is the file just written, by its size and its unique last bytes."""
        try:
            fd = open_regular(self._fs, path, size, exact=True)
            try:
                return self._fs.pread(fd, len(ending), size - len(ending)) == ending
            finally:
                self._fs.close(fd)
        except (OSError, Damaged):
            return False


def _sync(fs: Fs, folder: str) -> None:
    """Bring a folder's entries to stable storage."""
    fd = fs.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fs.fsync(fd)
    finally:
        fs.close(fd)


def make_folder(fs: Fs, path: str) -> None:
    """Make a folder for the files of several pieces, mode 0700; one that is there is checked.

    Its name is brought to stable storage, as the files in it may be: a power failure must not take
    them with their folder.

    Raises:
        StorageFailed: something else has its name, or it belongs to another user.
        OSError: from the file system.
    """
    try:
        fs.mkdir(path, 0o700)
    except FileExistsError:
        status = fs.lstat(path)
    else:
        _sync(fs, os.path.dirname(path))
        return
    if not stat.S_ISDIR(status.st_mode):
        raise StorageFailed(f"{path}: not a directory; remove it or choose another run directory")
    if status.st_uid != os.geteuid():
        raise StorageFailed(
            f"{path}: belongs to user {status.st_uid}, this is user {os.geteuid()}; choose another "
            f"run directory"
        )
    if status.st_mode & 0o022:
        raise StorageFailed(
            f"{path}: mode {stat.S_IMODE(status.st_mode):04o} lets others write; chmod 700 it"
        )


def remove_temporaries(fs: Fs, folder: Folder, piece: str, epoch: int) -> None:
    """Remove what other starts of a piece left half-written; never another piece's files.

    Call it as `epoch`'s holder, before anything is written. A process that was killed while
    acquiring the lease may have left temporary files with our epoch number. Removing a competitor's
    temporary file makes its link() fail, by which it learns that it lost.

    Raises:
        OSError: the folder cannot be listed.
    """
    for name in fs.listdir(folder.root):
        whose = folder.parse_temporary(name)
        if whose is not None and whose[0] == piece and whose[1] <= epoch:
            try:
                fs.unlink(os.path.join(folder.root, name))
            except OSError:
                continue  # deleted already, or the next start deletes it
