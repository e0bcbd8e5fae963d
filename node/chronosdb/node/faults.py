"""The only map from the parts' errors to the errors of the contract."""

from __future__ import annotations

from chronosdb.raft import Result, Status
from chronosdb.wire.errors import ChronosError, Conflict, InvalidArgument, NotFound, Overloaded

_BY_STATUS: dict[Status, type[ChronosError]] = {
    Status.CONFLICT: Conflict,
    Status.NOT_FOUND: NotFound,
    Status.INVALID: InvalidArgument,
    Status.LIMIT: InvalidArgument,
    Status.STALE: Overloaded,
}


def check(result: Result) -> Result:
    """The result of a metadata command that succeeded.

    Raises:
        ChronosError: it did not.
    """
    if result.ok:
        return result
    raise _BY_STATUS.get(result.status, ChronosError)(result.detail)
