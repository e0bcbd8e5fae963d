"""Answers already given, so that a retried command is answered and not applied again.

The table is replicated state: it changes only in log order and is part of every snapshot. It is
bounded twice. A client's oldest answers go first, and leave a floor below which a retry is
`stale`, never applied; clients not heard from for longest are forgotten whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chronosdb.raft.limits import ANSWERS_PER_SESSION_MAX, SESSIONS_MAX
from chronosdb.raft.result import Result, Status


@dataclass(slots=True)
class _Session:
    #: Invariant: every key of `answers` is above it.
    floor: int = 0
    #: Invariant: at most ANSWERS_PER_SESSION_MAX.
    answers: dict[int, Result] = field(default_factory=dict)


class Sessions:
    """The remembered answers of all clients."""

    def __init__(self) -> None:
        #: Invariant: ordered by last use, the oldest first; at most SESSIONS_MAX.
        self._sessions: dict[str, _Session] = {}

    def recall(self, client_id: str, seq: int) -> Result | None:
        """The answer to this very request, `stale` if it is too old to know, None if it is new."""
        session = self._sessions.get(client_id)
        if session is None:
            return None
        if seq <= session.floor:
            return Result(
                Status.STALE, f"request {seq} was answered long ago, at or below {session.floor}"
            )
        return session.answers.get(seq)

    def remember(self, client_id: str, seq: int, result: Result) -> None:
        """Keep the answer to a new request, forgetting the oldest ones beyond the bounds."""
        session = self._sessions.pop(client_id, None) or _Session()
        assert seq > session.floor, (seq, session.floor)
        session.answers[seq] = result
        if len(session.answers) > ANSWERS_PER_SESSION_MAX:
            session.floor = min(session.answers)
            del session.answers[session.floor]
        self._sessions[client_id] = session
        if len(self._sessions) > SESSIONS_MAX:
            del self._sessions[next(iter(self._sessions))]

    def to_plain(self) -> list[Any]:
        """`[[client_id, floor, [[seq, result], ...]], ...]`, in order of last use."""
        return [
            [client_id, s.floor, [[seq, r.to_plain()] for seq, r in sorted(s.answers.items())]]
            for client_id, s in self._sessions.items()
        ]

    @classmethod
    def from_plain(cls, plain: list[Any]) -> Sessions:
        """Inverse of `to_plain`."""
        sessions = cls()
        for client_id, floor, answers in plain:
            known = {seq: Result.from_plain(result) for seq, result in answers}
            sessions._sessions[client_id] = _Session(floor, known)
        return sessions
