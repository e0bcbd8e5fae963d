"""Who waits for which command, and what to tell them.

PySyncObj calls back from the middle of its work, at times twice or never, and takes an exception
from a callback for a reason to apply again. So its callbacks only note outcomes here, each waiter
hears exactly one, and hears it when PySyncObj is at rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from chronosdb.raft.errors import OutcomeUnknownError, RaftError
from chronosdb.raft.result import Result

Outcome: TypeAlias = Result | RaftError
OnResult: TypeAlias = Callable[[Outcome], None]


class Outcomes:
    """Waiters by ticket, and outcomes to be told."""

    def __init__(self) -> None:
        #: Invariant: in the order of submission.
        self._waiting: dict[int, OnResult] = {}
        self._next_ticket = 0
        self._settled: deque[tuple[OnResult, Outcome]] = deque()

    @property
    def waiting(self) -> int:
        """How many commands have no outcome yet."""
        return len(self._waiting)

    def expect(self, on_result: OnResult) -> OnResult:
        """A function that notes the outcome for `on_result`; only its first call counts."""
        ticket = self._next_ticket
        self._next_ticket += 1
        self._waiting[ticket] = on_result
        return partial(self._settle, ticket)

    def settle_at_once(self, on_result: OnResult, outcome: Outcome) -> None:
        """Note an outcome that is known without waiting."""
        self._settled.append((on_result, outcome))

    def settle_all_unknown(self, why: str) -> None:
        """Everyone still waiting hears that the outcome is not known."""
        for ticket in list(self._waiting):
            self._settle(ticket, OutcomeUnknownError(why))

    def tell(self) -> None:
        """Call back for every outcome noted. What a callback raises is its caller's to fix."""
        while self._settled:
            on_result, outcome = self._settled.popleft()
            on_result(outcome)

    def _settle(self, ticket: int, outcome: Outcome) -> None:
        on_result = self._waiting.pop(ticket, None)
        if on_result is not None:
            self._settled.append((on_result, outcome))
