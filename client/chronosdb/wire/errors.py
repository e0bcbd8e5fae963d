"""The one error tree of ChronosDB. A code travels on the wire; a class is what a program catches.

`retryable` says whether the same request may succeed later without a change. A publish may always be
retried with the same message id: the broker stores one event whatever happened to the first attempt.
"""

from __future__ import annotations

from typing import Any, ClassVar


class ChronosError(Exception):
    """Base of everything ChronosDB raises. `code` is stable; the message is for people."""

    code: ClassVar[str] = "internal"
    retryable: bool = False

    def __init__(self, message: str, *, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = details or {}


class ConnectionLost(ChronosError):
    """The connection broke or could not be made; the outcome of requests in flight is unknown."""

    code = "connection_lost"
    retryable = True


class Timeout(ChronosError):
    """No answer within the deadline; the outcome is unknown."""

    code = "timeout"
    retryable = True


class NotLeader(ChronosError):
    """This node does not lead the partition; `details["leader"]` names who does, if known."""

    code = "not_leader"
    retryable = True


class Overloaded(ChronosError):
    """A limit of the node is reached (queue, disk space). Nothing was stored: try again later."""

    code = "overloaded"
    retryable = True


class Conflict(ChronosError):
    """The name or message id is taken by something different. Nothing was stored."""

    code = "conflict"


class NotFound(ChronosError):
    """No such topic, group or subscription."""

    code = "not_found"


class LeaseLost(ChronosError):
    """The delivery is no longer yours: its ack timeout passed, or another member has it now."""

    code = "lease_lost"


class AuthError(ChronosError):
    """The node does not accept these credentials."""

    code = "auth"


class ProtocolError(ChronosError):
    """The peer sent bytes or a message that the protocol does not allow."""

    code = "protocol"


class InvalidArgument(ChronosError, ValueError):
    """A value is outside what the contract allows; the message says what is."""

    code = "invalid_argument"


_BY_CODE: dict[str, type[ChronosError]] = {
    cls.code: cls
    for cls in (
        ConnectionLost,
        Timeout,
        NotLeader,
        Overloaded,
        Conflict,
        NotFound,
        LeaseLost,
        AuthError,
        ProtocolError,
        InvalidArgument,
    )
}


def error_from_wire(
    code: str, message: str, *, retryable: bool, details: dict[str, Any]
) -> ChronosError:
    """The exception for an error frame. A code this client does not know becomes `ChronosError`."""
    error = _BY_CODE.get(code, ChronosError)(message, details=details)
    error.retryable = retryable
    return error
