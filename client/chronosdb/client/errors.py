"""The border: what the event loop and the network raise becomes a `ChronosError` here.

Failures also travel as `Failed` messages inside the client, so that a lost connection answers every
request in flight in the same way as the node would, and each waiter raises an exception of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import anyio

from chronosdb.wire.errors import ChronosError, ConnectionLost, error_from_wire
from chronosdb.wire.messages import Failed

_STREAM_ERRORS: Final = (
    OSError,
    anyio.EndOfStream,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
)


@contextmanager
def stream_errors(doing: str) -> Iterator[None]:
    """Turns every error of a stream into ConnectionLost; `doing` completes "… while"."""
    try:
        yield
    except anyio.EndOfStream:
        raise ConnectionLost(f"the node closed the connection while {doing}") from None
    except _STREAM_ERRORS as error:
        text = str(error) or type(error).__name__
        raise ConnectionLost(f"the connection failed while {doing}: {text}") from error


def to_failed(error: ChronosError, request: int = 0) -> Failed:
    """`error` as the message that a node would have sent."""
    return Failed(request, error.code, error.message, error.retryable, error.details)


def to_error(failed: Failed) -> ChronosError:
    """A new exception for `failed`."""
    return error_from_wire(
        failed.code, failed.message, retryable=failed.retryable, details=failed.details
    )


def client_closed() -> ConnectionLost:
    """For whoever still waits when the client is closed: another attempt cannot help."""
    error = ConnectionLost("the client is closed: use it inside its `async with`")
    error.retryable = False
    return error
