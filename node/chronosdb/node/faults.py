"""The only map from the parts' errors to the errors of the contract."""

from __future__ import annotations

from chronosdb.raft import Result, Status
from chronosdb.wal import DiskFull, LogClosed, UnreadableRecord, WalError
from chronosdb.wire.errors import ChronosError, Conflict, InvalidArgument, NotFound, Overloaded

_BY_STATUS: dict[Status, type[ChronosError]] = {
    Status.CONFLICT: Conflict,
    Status.NOT_FOUND: NotFound,
    Status.INVALID: InvalidArgument,
    Status.LIMIT: InvalidArgument,
    Status.STALE: Overloaded,
}


def of_log(error: WalError) -> ChronosError:
    """What a client is told when a log or the disk refused."""
    match error:
        case LogClosed():
            return Overloaded("the node is shutting down; try again when it is back")
        case DiskFull():
            return Overloaded(f"no disk space: {error}")
        case UnreadableRecord():
            return ChronosError(f"reading the log failed: {error}")
        case _:
            return ChronosError(f"the log is damaged: {error}")


def check(result: Result) -> Result:
    """The result of a metadata command that succeeded.

    Raises:
        ChronosError: it did not.
    """
    if result.ok:
        return result
    raise _BY_STATUS.get(result.status, ChronosError)(result.detail)
