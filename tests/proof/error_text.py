"""An error as a line of a history says it: the same in every run of one seed."""

from __future__ import annotations

import trio

from chronosdb.client import ChronosError


def text_of(error: BaseException) -> str:
    """Code and message."""
    if isinstance(error, trio.Cancelled):
        return "cancelled"  # its message has the address of a task in it
    code = error.code if isinstance(error, ChronosError) else type(error).__name__
    return f"{code}: {error}"
