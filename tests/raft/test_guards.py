"""The guards on messages, one fault of the library each."""

from __future__ import annotations

import pytest

from chronosdb.raft import BadMessageError, Message, guards
from chronosdb.raft.messages import check

Entries = list[tuple[bytes, int, int]]


class Log:
    """Terms of entries 1, 2, 3, ..."""

    def __init__(self, *terms: int) -> None:
        self._terms = terms

    @property
    def last_index(self) -> int:
        return len(self._terms)

    def term_at(self, index: int) -> int | None:
        return self._terms[index - 1] if 1 <= index <= len(self._terms) else None


def _append(term: int, previous: tuple[int, int], *terms: int) -> Message:
    index, previous_term = previous
    entries = [(b"\x01", index + 1 + n, t) for n, t in enumerate(terms)]
    return {
        "type": "append_entries",
        "term": term,
        "commit_index": 1,
        "prevLogIdx": index,
        "prevLogTerm": previous_term,
        "entries": entries,
    }


def _seen(message: Message, log: Log, term: int = 3) -> tuple[int, int, list[int]]:
    """What PySyncObj is shown: where it truncates, and what it adds."""
    guarded = guards.incoming(message, term, log)
    assert guarded is not None
    check({**guarded, "entries": list(guarded["entries"])})
    return guarded["prevLogIdx"], guarded["prevLogTerm"], [e[1] for e in guarded["entries"]]


def test_g1_an_acknowledgement_carries_its_term() -> None:
    """One from an earlier reign counts for nothing."""
    ack = {"type": "next_node_idx", "next_node_idx": 9, "reset": False, "success": True}
    sent = guards.outgoing(ack, term=4, commit_index=2)
    assert sent == {**ack, "term": 4}
    assert guards.incoming(sent, 4, Log()) == sent
    assert guards.incoming(sent, 5, Log()) is None


@pytest.mark.parametrize(
    ("log", "message", "expected"),
    [
        # entries that match are skipped, new ones are added
        (Log(1, 1, 2), _append(3, (1, 1), 1, 2, 2), (3, 2, [4])),
        # a conflict is replaced from where it begins, and no earlier
        (Log(1, 1, 2, 2), _append(3, (1, 1), 1, 3), (2, 1, [3])),
        # a heartbeat of the leader that wrote our last entry truncates nothing
        (Log(1, 1, 3, 3), _append(3, (2, 1)), (4, 3, [])),
        # an old message of that leader truncates nothing either
        (Log(1, 1, 3, 3), _append(3, (1, 1), 1, 3), (4, 3, [])),
        # behind what matches, another leader's tail may go
        (Log(1, 1, 2, 2), _append(3, (1, 1), 1), (2, 1, [])),
        (Log(1, 1, 2, 2), _append(3, (2, 1)), (2, 1, [])),
        # a plain append stays as it is
        (Log(1, 1), _append(3, (2, 1), 3, 3), (2, 1, [3, 4])),
    ],
)
def test_g2_nothing_that_matches_is_truncated(
    log: Log, message: Message, expected: tuple[int, int, list[int]]
) -> None:
    """Each row: our log, the message, and what the library may see of it."""
    assert _seen(message, log) == expected


@pytest.mark.parametrize("previous", [(9, 1), (2, 7)])
def test_g2_a_message_that_does_not_fit_is_left_to_the_library(previous: tuple[int, int]) -> None:
    """It asks for earlier entries."""
    message = _append(3, previous, 3)
    assert guards.incoming(message, 3, Log(1, 1)) is message


def test_g2_an_old_leaders_message_is_left_to_the_library() -> None:
    """It drops it."""
    message = _append(2, (1, 1), 2)
    assert guards.incoming(message, 3, Log(1, 1)) is message


@pytest.mark.parametrize("chunk", [(b"x", True, False, 0), None, (b"x", True, True, 0)])
def test_g2b_a_snapshot_commits_nothing_on_its_way(chunk: object) -> None:
    """It says nothing about the log here; the last chunk neither, since it may be ignored."""
    message = {"type": "append_entries", "term": 3, "commit_index": 7, "serialized": chunk}
    guarded = guards.incoming(message, 3, Log(1))
    assert guarded is not None
    assert guarded["commit_index"] == -1


@pytest.mark.parametrize(
    ("reset", "success", "expected"), [(True, False, 5), (False, True, 9), (False, False, 9)]
)
def test_g4_a_follower_goes_back_to_what_is_committed(
    reset: bool, success: bool, expected: int
) -> None:
    """At once, where the library would take one step per heartbeat."""
    ack = {"type": "next_node_idx", "next_node_idx": 9, "reset": reset, "success": success}
    assert guards.outgoing(ack, term=1, commit_index=4)["next_node_idx"] == expected


def test_other_messages_pass_unchanged() -> None:
    """Votes need no guard."""
    vote = {"type": "request_vote", "term": 3, "last_log_index": 5, "last_log_term": 2}
    assert guards.outgoing(vote, 3, 1) is vote
    assert guards.incoming(vote, 3, Log()) is vote


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"type": None},
        {"type": ["append_entries"]},
        {"type": "response_vote"},
        {"type": "response_vote", "term": -1},
        {"type": "response_vote", "term": True},
        {"type": "response_vote", "term": 1, "more": 1},
        {"type": "apply_command", "command": b"\x00"},
        {"type": "append_entries", "term": 1, "commit_index": 1},
        {"type": "append_entries", "term": 1, "commit_index": 1, "serialized": (b"", 1, 0)},
        {**_append(1, (1, 1), 1), "transmission": "start"},
        {**_append(1, (1, 1)), "entries": [(b"", 2, 1)]},
        {**_append(1, (1, 1)), "entries": [(b"\x02", 2, 1)]},
        {**_append(1, (1, 1)), "entries": [("\x00", 2, 1)]},
        {**_append(1, (1, 1)), "entries": [(b"\x00" * 70_000, 2, 1)]},
        {**_append(1, (1, 1)), "entries": [(b"\x00", 2, 1), (b"\x00", 4, 1)]},
        {**_append(1, (1, 1)), "entries": [(b"\x00", 2, 3), (b"\x00", 3, 2)]},
    ],
)
def test_what_is_no_raft_message_is_refused(message: Message) -> None:
    """Exact fields, exact types, dense entries of the two kinds we write."""
    with pytest.raises(BadMessageError):
        check(message)
