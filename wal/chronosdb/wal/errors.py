"""What can go wrong with a log, a disk or a view, and what the caller may do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chronosdb.wal.recovery import Recovery


class WalError(Exception):
    """Everything this package raises on purpose."""


class DiskFull(WalError, OSError):
    """There is no room, and nothing was written: free space, then try the same call again.

    An OSError too, because a disk raises it, and not every user of a disk treats it apart.
    """


class Locked(WalError):
    """Another process holds the lock: stop it, or use another directory."""


class TooLarge(WalError):
    """A record or a group exceeds the limits of LogOptions; nothing was written."""


class LogFailed(WalError):
    """A write or fsync failed (see ``__cause__``): this Log accepts nothing more; reopen it."""


class LogClosed(WalError):
    """The Log was closed, or opened read-only, and was then asked to write."""


class LogMissing(WalError):
    """There is no log in this directory."""


class WrongLog(WalError):
    """The directory holds the log of another cluster or partition."""


class LogDamaged(WalError):
    """Bytes that were durable are gone or wrong; nothing was changed. ``recovery`` is the report."""

    def __init__(self, recovery: Recovery) -> None:
        super().__init__(str(recovery))
        self.recovery = recovery


class DamagedRecord(WalError):
    """There is no valid record at ``lsn``; ``why`` says which check failed."""

    def __init__(self, lsn: int, why: str) -> None:
        super().__init__(f"no valid record at lsn {lsn}: {why}")
        self.lsn = lsn
        self.why = why


class UnreadableRecord(DamagedRecord):
    """The disk failed to read what lies at ``lsn`` (see ``__cause__``); it may be whole."""


class BadCopy(WalError):
    """These bytes are not the records that belong here; nothing was written."""


class OutOfRange(WalError):
    """The log does not hold the asked lsn, offset, position or time."""


class ViewsDamaged(WalError):
    """A LevelDB view failed: close it, and rebuild it from the log."""
