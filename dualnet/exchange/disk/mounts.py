"""What kind of file system holds the exchange directory, and how it has to be treated.

A network file system caches attributes and directory entries on each client (nfs(5)), which is why
there the directory is reopened before each poll and messages are brought to stable storage.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass

from dualnet.errors import ConfigError
from dualnet.exchange.settings import ExchangeSettings

__all__ = ["FileSystemPolicy", "Mount", "policy_for", "find_mount"]

LOGGER = logging.getLogger(__name__)

# File systems with one cache: what is written is seen at once by every process.
_LOCAL = frozenset(
    [
        "bcachefs",
        "btrfs",
        "ext2",
        "ext3",
        "ext4",
        "f2fs",
        "jfs",
        "overlay",
        "ramfs",
        "reiserfs",
        "rootfs",
        "tmpfs",
        "xfs",
        "zfs",
    ]
)


@dataclass(frozen=True)
class Mount:
    """One line of /proc/mounts."""

    path: str
    kind: str
    options: str

    def has(self, option: str) -> bool:
        """Whether `option` is among the mount options."""
        return option in self.options.split(",")


@dataclass(frozen=True)
class FileSystemPolicy:
    """File-system policy.

    Attributes:
        network: other machines' writes become visible only after the client's cache is refreshed.
        poll_cap_s: longest sleep between two polls.
        probe_s: time between two checks for a new generation of the neighbour.
    """

    network: bool
    poll_cap_s: float
    probe_s: float


def find_mount(path: str, mounts: str) -> Mount | None:
    """The mount that holds `path`.

    Args:
        path: an absolute path without symbolic links.
        mounts: the text of /proc/mounts; the last of several mounts on one place counts.
    """
    best: Mount | None = None
    for line in mounts.splitlines():
        columns = line.split()
        if len(columns) < 4:
            continue
        # Blanks and backslashes in a path are written as \040 and the like.
        place = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), columns[1])
        inside = path == place or path.startswith(place.rstrip("/") + "/")
        if inside and (best is None or len(place) >= len(best.path)):
            best = Mount(place, columns[2], columns[3])
    return best


def policy_for(
    path: str, settings: ExchangeSettings, mounts: str | None = None
) -> FileSystemPolicy:
    """Decide how to treat the file system that holds `path`.

    Args:
        path: the exchange directory, or the folder that it will be made in.
        settings: `filesystem` and `poll_cap_s` are used.
        mounts: the text of /proc/mounts; None reads it.

    Raises:
        ConfigError: the mount makes the exchange impossible (`nocto`).
    """
    if mounts is None:
        try:
            with open("/proc/mounts", encoding="utf-8", errors="replace") as file:
                mounts = file.read()
        except OSError:
            mounts = ""
    mount = find_mount(os.path.realpath(path), mounts)
    if mount is not None and mount.kind.startswith("nfs"):
        _judge_nfs(path, mount)
    if settings.filesystem == "auto":
        network = mount is None or mount.kind not in _LOCAL
    else:
        network = settings.filesystem == "nfs"
    cap_s = settings.poll_cap_s or (0.05 if network else 0.02)
    return FileSystemPolicy(network=network, poll_cap_s=cap_s, probe_s=1.0 if network else 0.05)


def _judge_nfs(path: str, mount: Mount) -> None:
    if mount.has("nocto"):
        raise ConfigError(
            f"{path}: mounted from {mount.path} with nocto, so a new file may stay unseen for a "
            f"minute; remount without nocto"
        )
    for option, danger in (
        ("vers=3", "restarts are seen late on NFS v3"),
        ("soft", "a slow server makes writes fail"),
        ("nolock", "locks exclude nobody"),
    ):
        if mount.has(option):
            LOGGER.warning("%s: mounted with %s: %s", path, option, danger)
