"""Run manifest: run id, secret and configuration hash.

Written by the piece that starts first, compared by every later start, which refuses before it
writes anything if something differs.
"""

from __future__ import annotations

import errno
import hmac
import json
import os
import re
import stat
from dataclasses import dataclass
from typing import Any, Callable, TypeVar

from dualnet.errors import ManifestMismatch, StorageFailed
from dualnet.exchange.disk.publish import Publisher, make_folder
from dualnet.exchange.disk.records import mac
from dualnet.exchange.disk.safefile import Damaged, read_small
from dualnet.exchange.disk.storage import remedy
from dualnet.exchange.paths import RunPaths
from dualnet.fs import Fs

__all__ = ["PROTOCOL_VERSION", "Manifest", "join_run", "make_key", "read_key", "read_manifest"]

T = TypeVar("T")

#: 3: a folder for each link (2: one flat folder for net1 and net2).
PROTOCOL_VERSION = 3
MANIFEST_LIMIT = 1 << 20
_SECRET_BYTES = 32
# The secret, 64 hexadecimal digits and a newline.
_SECRET_LIMIT = 2 * _SECRET_BYTES + 1
# What link() raises where a file system has no hard links.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


@dataclass(frozen=True)
class Manifest:
    """The run that a directory belongs to.

    Attributes:
        run_id: 16 random bytes.
        key: the run's secret, 32 random bytes.
        identity: what all pieces must agree on.
    """

    run_id: bytes
    key: bytes
    identity: dict[str, Any]


def join_run(fs: Fs, paths: RunPaths, piece: str, identity: dict[str, Any]) -> Manifest:
    """Make the exchange directory, or join the run that it holds.

    Args:
        fs: all I/O.
        paths: the exchange directory; its parent must exist.
        piece: who asks.
        identity: what all pieces must agree on: JSON-able, for example the configuration's hash.

    Raises:
        ManifestMismatch: the directory holds a run of another identity or protocol version.
        StorageFailed: it cannot be made, or belongs to somebody else.
    """
    canonical = json.loads(json.dumps(identity, sort_keys=True))
    try:
        return _again_if_gone(lambda: _join(fs, paths, piece, canonical))
    except OSError as error:
        raise _not_prepared(paths, error) from error


def make_key(fs: Fs, paths: RunPaths, piece: str) -> bytes:
    """The run's secret, made with its directory where there is none; arguments as of `join_run`.

    Raises:
        OSError: from the file system; nothing that this call made is left then.
        StorageFailed: the secret is damaged, the directory is somebody else's, or there are no hard
            links.
    """
    is_new = not os.path.lexists(paths.root)
    try:
        return _again_if_gone(lambda: _make_key(fs, paths, piece))
    except OSError as error:
        if is_new:
            try:
                os.rmdir(paths.root)
            except OSError:
                pass  # another piece uses it already
        if error.errno in _NO_LINKS:
            raise _not_prepared(paths, error) from error
        raise


def _not_prepared(paths: RunPaths, error: OSError) -> StorageFailed:
    code = errno.errorcode.get(error.errno or 0, "EIO")
    is_linkless = error.errno in _NO_LINKS
    hint = "the exchange needs a file system with hard links" if is_linkless else remedy(error)
    return StorageFailed(f"cannot prepare {paths.root}: {code} ({error.strerror}); {hint}")


def _again_if_gone(attempt: Callable[[], T]) -> T:
    try:
        return attempt()
    except FileNotFoundError:
        # Another copy of this piece was faster, and has cleaned our temporary file away: by now
        # there is a run to join. If the directory itself is gone, this fails once more.
        return attempt()


def _make_key(fs: Fs, paths: RunPaths, piece: str) -> bytes:
    make_folder(fs, paths.root)
    key = read_key(fs, paths)
    if key is None:
        secret = fs.random(_SECRET_BYTES).hex().encode("ascii") + b"\n"
        Publisher(fs, paths, piece).create(paths.secret, secret)
        key = read_key(fs, paths)
        if key is None:
            raise StorageFailed(f"{paths.secret}: vanished as soon as it was made")
    return key


def _join(fs: Fs, paths: RunPaths, piece: str, identity: dict[str, Any]) -> Manifest:
    key = _make_key(fs, paths, piece)
    manifest = read_manifest(fs, paths, key)
    if manifest is None:
        content = _compose(fs.random(16).hex(), identity, key)
        Publisher(fs, paths, piece).create(paths.manifest, content)
        manifest = read_manifest(fs, paths, key)
        if manifest is None:
            raise StorageFailed(f"{paths.manifest}: vanished as soon as it was made")
    _compare(paths, manifest.identity, identity)
    return manifest


def read_key(fs: Fs, paths: RunPaths) -> bytes | None:
    """The run's secret, or None if there is none yet.

    Raises:
        StorageFailed: it is damaged, or others may read it.
        OSError: from the file system.
    """
    try:
        text = read_small(fs, paths.secret, _SECRET_LIMIT)
        mode = stat.S_IMODE(fs.lstat(paths.secret).st_mode)
    except FileNotFoundError:
        return None
    except Damaged as error:
        raise StorageFailed(f"{paths.secret}: {error}; start with a new run directory") from error
    if mode & 0o077:
        raise StorageFailed(f"{paths.secret}: mode {mode:04o} shows it to others; chmod 600 it")
    if not re.fullmatch(rb"[0-9a-f]{64}\n", text):
        raise StorageFailed(f"{paths.secret}: not a secret of ours; start with a new run directory")
    return bytes.fromhex(text.decode("ascii"))


def _compose(run_id: str, identity: dict[str, Any], key: bytes) -> bytes:
    fields = {"identity": identity, "protocol": PROTOCOL_VERSION, "run_id": run_id}
    seal = mac(key, "manifest", _canonical(fields)).hex()
    return json.dumps({**fields, "mac": seal}, sort_keys=True, indent=1).encode("ascii") + b"\n"


def _canonical(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii")


def read_manifest(fs: Fs, paths: RunPaths, key: bytes) -> Manifest | None:
    """The run's manifest, or None if there is none yet.

    Raises:
        ManifestMismatch: it is damaged, of another secret or of another protocol version.
        OSError: from the file system.
    """
    try:
        text = read_small(fs, paths.manifest, MANIFEST_LIMIT)
        fields = json.loads(text.decode("ascii"))
        stated = fields.pop("mac")
        if not hmac.compare_digest(stated, mac(key, "manifest", _canonical(fields)).hex()):
            raise Damaged("not sealed with this directory's secret")
        protocol = fields["protocol"]
    except FileNotFoundError:
        return None
    except (Damaged, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ManifestMismatch(
            f"{paths.manifest}: damaged ({error}); start with a new run directory"
        ) from error
    if protocol != PROTOCOL_VERSION:
        raise ManifestMismatch(
            f"{paths.manifest}: exchange protocol {protocol}, this program speaks "
            f"{PROTOCOL_VERSION}; run all pieces with the version of dualnet that began this run, "
            f"or choose another run directory"
        )
    return Manifest(bytes.fromhex(fields["run_id"]), key, fields["identity"])


def _compare(paths: RunPaths, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    differing = [
        f"{name} is {theirs.get(name)!r} there and {ours.get(name)!r} here"
        for name in sorted(set(theirs) | set(ours))
        if theirs.get(name) != ours.get(name)
    ]
    if differing:
        raise ManifestMismatch(
            f"{paths.manifest}: another run: {'; '.join(differing)}; use the same configuration "
            f"for all pieces, or a new run directory"
        )
