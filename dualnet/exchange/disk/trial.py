"""Whether a directory can carry what the pieces exchange: what they do there, done once.

Only one node is seen from here. Run it on each node with the same directory: files that the others
have left there recently are found and named, which shows that the nodes share it.
"""

from __future__ import annotations

import os
import platform
import time
import uuid

from dualnet.exchange.disk.mounts import find_mount
from dualnet.exchange.disk.storage import remedy

__all__ = ["try_directory"]

#: As large as what the digits net sends for a batch.
_MESSAGE_BYTES = 1 << 20
_TRIES = 5
_TRIAL, _MARK = ".dualnet-trial.", ".dualnet-doctor."
#: A mark that a node leaves for the others; older ones are removed.
_MARK_LASTS_S = 3600.0


def try_directory(path: str) -> tuple[str, str]:
    """Write, sync, rename, link, read and remove files in a directory.

    Args:
        path: The directory; a file that names this node stays in it for an hour.

    Returns:
        "ok" or "!!", and what was found or what to do.
    """
    if not os.path.isdir(path):
        return "!!", f"shared directory {path}: no such directory; make it, on all nodes the same"
    try:
        with open("/proc/mounts", encoding="utf-8", errors="surrogateescape") as file:
            mount = find_mount(os.path.realpath(path), file.read())
        times_s = sorted(_one_message(path) for _ in range(_TRIES))
        skew_s = _leave_mark(path)
        others = _others(path)
    except OSError as error:
        return "!!", f"shared directory {path}: {error.strerror}; {remedy(error)}"
    kind = mount.kind if mount is not None else "unknown file system"
    rate = _MESSAGE_BYTES / 2**20 / max(times_s[_TRIES // 2], 1e-9)
    text = f"shared directory {path}: {kind}, {rate:.0f} MiB/s written, synced and read back"
    if abs(skew_s) > 2:
        text += f", its clock {skew_s:+.0f} s from this node's"
    seen = f"seen from here: {', '.join(others)}" if others else "no other node has tried it yet"
    return "ok", f"{text}; {seen}"


def _one_message(path: str) -> float:
    """Seconds that a message takes from memory to the disk and back."""
    content = os.urandom(_MESSAGE_BYTES)
    name = os.path.join(path, f"{_TRIAL}{uuid.uuid4().hex}")
    started_s = time.perf_counter()
    try:
        with open(f"{name}.tmp", "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(f"{name}.tmp", f"{name}.link")
        os.rename(f"{name}.tmp", name)
        with open(name, "rb") as file:
            if file.read() != content:
                raise OSError(5, "what was written reads back otherwise", name)
    finally:
        for end in (".tmp", ".link", ""):
            try:
                os.unlink(name + end)
            except FileNotFoundError:
                pass
    return time.perf_counter() - started_s


def _leave_mark(path: str) -> float:
    """Leave this node's mark; how much later the file system's clock is than this node's."""
    mark = os.path.join(path, _MARK + platform.node())
    with open(mark, "w", encoding="utf-8"):
        pass
    os.utime(mark)  # by the server's clock, where there is a server
    return os.stat(mark).st_mtime - time.time()


def _others(path: str) -> list[str]:
    """Nodes that have left a mark lately; marks that are old are removed."""
    found = []
    for name in sorted(os.listdir(path)):
        node = name[len(_MARK) :] if name.startswith(_MARK) else ""
        if node in ("", platform.node()):
            continue
        age_s = time.time() - os.stat(os.path.join(path, name)).st_mtime
        if age_s > _MARK_LASTS_S:
            os.unlink(os.path.join(path, name))
        else:
            found.append(node)
    return found
