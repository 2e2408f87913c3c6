"""The exceptions of dualnet and the exit codes that they stand for.

Every error that a user can get is a `DualnetError`; the command line prints its one line and exits
with its `exit_code`:

==== ======================== =====================================================
code exception                meaning
==== ======================== =====================================================
   0 (none)                   done
   1 TrainingFailed           the training itself failed
   2 UsageError               wrong arguments
   2 ConfigError              wrong configuration
   2 ManifestMismatch         two pieces, or a piece and the directory, disagree
  70 NeighbourNeverCame       a neighbour did not start in time
  71 NeighbourDied            a neighbour stopped, or reported that it failed
  72 NeighbourHung            a neighbour runs but makes no progress
  73 DamagedMessage           a message stayed damaged or missing
  74 StorageFailed            the shared directory could not be read or written
  75 Superseded               another copy of this piece runs, or took over
  76 DeterminismViolated      a replayed message differs from the recorded one
  77 OutOfMemory              the machine had no memory left, or none for another thread
==== ======================== =====================================================

70 to 77 leave the codes of the shell (126 and up) and of Python (1, 2) alone, and 74 and 75 are
`EX_IOERR` and `EX_TEMPFAIL` of sysexits.h, which batch systems know.
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "DamagedMessage",
    "DeterminismViolated",
    "DualnetError",
    "ManifestMismatch",
    "NeighbourDied",
    "NeighbourHung",
    "NeighbourNeverCame",
    "OutOfMemory",
    "StorageFailed",
    "Superseded",
    "TrainingFailed",
    "UsageError",
]


class DualnetError(Exception):
    """An error with a one-line message for the user and an exit code for the shell."""

    #: What the process exits with when this error ends it.
    exit_code: int = 1


class TrainingFailed(DualnetError):
    """The training itself failed: a loss that is NaN or infinite, a piece that failed."""

    exit_code = 1


class UsageError(DualnetError):
    """The command was called with arguments that make no sense."""

    exit_code = 2


class ConfigError(DualnetError):
    """A configuration key or value is unknown, mistyped or contradictory."""

    exit_code = 2


class ManifestMismatch(DualnetError):
    """Two pieces, or a piece and the run directory, disagree on what is being run."""

    exit_code = 2


class NeighbourNeverCame(DualnetError):
    """A neighbour did not start within the time allowed."""

    exit_code = 70


class NeighbourDied(DualnetError):
    """A neighbour stopped, or reported its own failure."""

    exit_code = 71


class NeighbourHung(DualnetError):
    """A neighbour is alive, but its training has made no progress for too long."""

    exit_code = 72


class DamagedMessage(DualnetError):
    """A message was announced, but stayed damaged or missing, or has another shape than agreed."""

    exit_code = 73


class StorageFailed(DualnetError):
    """The shared directory could not be read or written within the retry limit."""

    exit_code = 74


class Superseded(DualnetError):
    """Another copy of this piece is running, or has taken over from this one."""

    exit_code = 75


class DeterminismViolated(DualnetError):
    """A message replayed after a restart differs from the recorded one."""

    exit_code = 76


class OutOfMemory(DualnetError):
    """The machine refused memory, or room for another thread or process."""

    exit_code = 77
