"""The remembered answers and their bounds."""

from __future__ import annotations

from chronosdb.raft import Result, Status
from chronosdb.raft.limits import ANSWERS_PER_SESSION_MAX, SESSIONS_MAX
from chronosdb.raft.sessions import Sessions


def _answer(n: int) -> Result:
    return Result(Status.OK, id=n)


def test_answers_are_remembered_out_of_order_too() -> None:
    """A request that a deposed leader refused may be retried after its successors."""
    sessions = Sessions()
    for seq in (1, 3, 2):
        assert sessions.recall("c", seq) is None
        sessions.remember("c", seq, _answer(seq))
    assert [sessions.recall("c", seq) for seq in (1, 2, 3, 4)] == [*map(_answer, (1, 2, 3)), None]
    assert sessions.recall("d", 1) is None


def test_a_forgotten_answer_is_stale_and_never_new() -> None:
    """Below the floor nothing is applied again."""
    sessions = Sessions()
    for seq in range(1, ANSWERS_PER_SESSION_MAX + 2):
        sessions.remember("c", seq, _answer(seq))
    forgotten = sessions.recall("c", 1)
    assert forgotten is not None
    assert forgotten.status is Status.STALE
    assert sessions.recall("c", 2) == _answer(2)


def test_the_client_silent_for_longest_is_forgotten_first() -> None:
    """Recent use counts, not age."""
    sessions = Sessions()
    for n in range(SESSIONS_MAX):
        sessions.remember(f"c{n}", 1, _answer(n))
    sessions.remember("c0", 2, _answer(0))
    sessions.remember("new", 1, _answer(1))
    assert sessions.recall("c1", 1) is None
    assert sessions.recall("c0", 1) == _answer(0)


def test_the_order_of_use_survives_a_snapshot() -> None:
    """Or replicas that started from one would forget differently."""
    sessions = Sessions()
    for name in ("b", "a", "c", "b"):
        sessions.remember(name, 1 + (sessions.recall(name, 1) is not None), _answer(1))
    copy = Sessions.from_plain(sessions.to_plain())
    assert copy.to_plain() == sessions.to_plain()
    assert [row[0] for row in copy.to_plain()] == ["a", "c", "b"]
