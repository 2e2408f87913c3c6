"""The catalogue of faults: forty cases, and where each is injected."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CATALOGUE", "Fault"]


@dataclass(frozen=True)
class Fault:
    """One of the cases.

    Attributes:
        number, title, expected: as specified.
        parts: parts of the campaign that inject it, beside the entries of part `cases` with its
            number.
        remark: where else it is tested, or what was not injected and why.
    """

    number: int
    title: str
    expected: str
    parts: tuple[str, ...] = ()
    remark: str = ""


_TCP = "more in tests/exchange/test_carriers.py and tests/exchange/tcp"

CATALOGUE = (
    Fault(1, "SIGKILL before each call that publishes", "resume", ("calls", "strace")),
    Fault(2, "SIGKILL at named points", "resume", ("points",)),
    Fault(3, "random SIGKILL, one piece", "resume", ("kills:one",)),
    Fault(4, "random SIGKILL, several at once", "resume", ("kills:several",)),
    Fault(5, "SIGKILL during a recovery", "resume", ("kills:recovery", "calls:restart")),
    Fault(6, "SIGSTOP past the lease, replacement, SIGCONT", "exit 75, 0 records used",
          ("zombies",)),
    Fault(7, "SIGTERM, SIGUSR1", "checkpoint, exit 0, resume", ("stops",)),
    Fault(8, "truncated at 0, 1, 127, 128, half, -1", "never used, resent"),
    Fault(9, "one bit flipped, every region of a record", "noticed"),
    Fault(10, "write() that lies about its length", "noticed"),
    Fault(11, "valid file of another iteration, piece, run", "refused"),
    Fault(12, "record visible before the data", "waits"),
    Fault(13, "pickle with a canary", "canary absent"),
    Fault(14, "huge header, other dtype, appended bytes", "refused, nothing allocated for it"),
    Fault(15, "symlink, FIFO, folder, another user's file", "refused without blocking"),
    Fault(16, "directory of another run", "untouched, refused"),
    Fault(17, "older epoch, leftover temporary files", "passed over, own ones removed"),
    Fault(18, "manifest, config or shape differs", "refused before anything is written"),
    Fault(19, "second copy, same node", "refused at once", ("copies:1",)),
    Fault(20, "second copy, another node", "refused after one heartbeat"),
    Fault(21, "8 copies at once", "exactly one wins", ("copies",),
          "processes on one node and, with other boot ids and locks, as if on eight"),
    Fault(22, "process number used again; garbage generation file", "start time decides; closed"),
    Fault(23, "ENOSPC, once and lasting", "retried, goes on; 74", ("full:bytes", "errors:ENOSPC")),
    Fault(24, "EFBIG, EDQUOT, no inodes", "as 23", ("full:inodes", "errors:EFBIG,EDQUOT")),
    Fault(25, "EACCES, EROFS", "as 23, by name", ("errors:EACCES,EROFS",),
          "by error code: file systems cannot be remounted here while the log is open"),
    Fault(26, "EIO from fsync and close", "new file, no second fsync", ("errors:EIO",)),
    Fault(27, "EMFILE; EINTR", "said, tried again", ("errors:EINTR",)),
    Fault(28, "run directory removed or renamed", "ends, never made again"),
    Fault(29, "stale attributes and negative entries, 60 s", "late by the poll cap + 1 RTT",
          ("nfs",), "a model: there is no NFS module on this machine"),
    Fault(30, "ESTALE at open, read, rename", "8 tries at most, counted", ("errors:ESTALE",)),
    Fault(31, "rename done but ENOENT; link done but EEXIST", "success recognised"),
    Fault(32, "server hangs for 120 s", "survived, nobody declared dead",
          remark="on the virtual clock"),
    Fault(33, "neighbour never starts, dies, is slow, hangs", "70, 71, waits, 72", ("hangs",)),
    Fault(34, "wall clock an hour off, jumping", "no effect"),
    Fault(35, "replay that is not deterministic", "exit 76"),
    Fault(36, "TCP: wrong key, silence, replay, reflection, strangers", "refused", remark=_TCP),
    Fault(37, "TCP: flipped bit, oversize, reset within a frame", "reconnect, resend",
          remark=_TCP),
    Fault(38, "TCP: partition", "heartbeat decides, resume", remark=_TCP),
    Fault(39, "power failure: unsynced data lost, torn, old", "resume",
          remark="a model that takes unsynced files back; no machine was switched off"),
    Fault(40, "operation N fails, once and lasting, for all N", "never wrong data",
          ("errors",), "all N in tests/exchange/test_faults.py; the campaign counts those in "
          "whole trainings"),
)  # fmt: skip
