"""Pre-vote: a node asks whether it could win an election before it begins one.

PySyncObj has none: a node that was cut off comes back with a higher term and deposes a leader who
did nothing wrong. So its elections are held back until a majority of the voters has said that it
would vote for this node, and that it has not heard of a leader lately. Asking changes nothing
anywhere: no term rises, no vote is given.
"""

from __future__ import annotations

from collections.abc import Iterable

from chronosdb.raft.transport import Message


class Canvass:
    """One node's question, and who has said yes."""

    def __init__(self) -> None:
        #: The term an election would be for; None while there is no question.
        self._term: int | None = None
        self._in_favour: set[str] = set()

    def begin(self, node_id: str, term: int, last: tuple[int, int]) -> Message:
        """The question to all other voters; `last` is (index, term) of the last entry here."""
        self._term = term
        self._in_favour = {node_id}
        index, last_term = last
        return {
            "type": "pre_vote",
            "term": term,
            "last_log_index": index,
            "last_log_term": last_term,
        }

    def end(self) -> None:
        """A leader was heard of, or the election begins."""
        self._term = None

    def is_won(self, peer: str, answer: Message, voters: Iterable[str]) -> bool:
        """Whether with this answer of a voter most of them are in favour."""
        if answer["asked"] != self._term or not answer["granted"]:
            return False
        self._in_favour.add(peer)
        names = set(voters)
        return 2 * len(self._in_favour & names) > len(names)


def answer(
    question: Message, term: int, last: tuple[int, int], *, leader_is_heard: bool
) -> Message:
    """What a node in `term`, whose log ends at `last` (index, term), says to a question."""
    index, last_term = last
    theirs = (question["last_log_term"], question["last_log_index"])
    granted = not leader_is_heard and question["term"] > term and theirs >= (last_term, index)
    return {
        "type": "pre_vote_answer",
        "term": term,
        "asked": question["term"],
        "granted": granted,
    }
