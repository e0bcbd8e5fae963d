"""The answer to one request, before and after it has come."""

from __future__ import annotations

from typing import TypeVar

import anyio

from chronosdb.client.errors import to_error
from chronosdb.wire.errors import ProtocolError
from chronosdb.wire.messages import Answer, Failed

R = TypeVar("R")


class Reply:
    """One request's answer; any number of tasks may wait for it.

    Invariant: resolved at most once, by the node's answer or by the loss of the connection.
    """

    __slots__ = ("_answer", "_resolved", "request")

    def __init__(self, request: int) -> None:
        self.request = request
        self._answer: Answer | None = None
        self._resolved = anyio.Event()

    def resolve(self, answer: Answer) -> None:
        """Give the answer to all who wait."""
        assert self._answer is None, "a request has one answer"
        self._answer = answer
        self._resolved.set()

    @property
    def resolved(self) -> bool:
        """Whether the answer is there."""
        return self._answer is not None

    async def wait(self, expected: type[R]) -> R:
        """The answer, once it is there.

        Raises:
            ChronosError: the request failed.
            ProtocolError: the node answered with a message of another type.
        """
        await self._resolved.wait()
        if isinstance(self._answer, Failed):
            raise to_error(self._answer)
        if not isinstance(self._answer, expected):
            raise ProtocolError(
                f"the node answered {type(self._answer).__name__} where {expected.__name__} belongs"
            )
        return self._answer
