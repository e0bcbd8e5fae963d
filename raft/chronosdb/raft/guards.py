"""What stands between the network and PySyncObj, because as shipped it is not safe there.

Pure functions over messages, numbered as in README.md: each names the fault it makes harmless.
(G3, forwarded commands, is cut off in `messages.py` and `core.py`; G5, a leader that spins while
a snapshot is written, cannot happen: ours are written at once; G6, a snapshot that comes late, is
met in `facades.py`.)
"""

from __future__ import annotations

from typing import Protocol

from chronosdb.raft.transport import Message

#: A commit index that moves nothing.
_NO_COMMIT = -1


class LogTerms(Protocol):
    """What the guards need to know of the log."""

    @property
    def last_index(self) -> int:
        """The index of the last entry."""

    def term_at(self, index: int, /) -> int | None:
        """The term of an entry, or None if the log does not hold it."""


def outgoing(message: Message, term: int, commit_index: int) -> Message:
    """A message of ours as it should leave.

    G1: an acknowledgement says for which term it is. G4: a follower whose log does not fit asks to
    go back to what is committed at once, not by one entry per heartbeat, which may never end.
    """
    if message["type"] != "next_node_idx":
        return message
    stamped = {**message, "term": term}
    if message["reset"] and not message["success"]:
        stamped["next_node_idx"] = min(message["next_node_idx"], commit_index + 1)
    return stamped


def incoming(message: Message, term: int, log: LogTerms) -> Message | None:
    """A peer's message as PySyncObj may see it, or None if it must not."""
    if message["type"] == "next_node_idx":
        return message if message["term"] == term else None  # G1: of an earlier reign
    if message["type"] != "append_entries":
        return message
    if "serialized" in message:
        # G2b: it proves nothing about our log, so it must not commit any of it; not the last chunk
        # either, since a snapshot may be ignored. What an installed one contains, `core.py` commits.
        return {**message, "commit_index": _NO_COMMIT}
    if message["term"] < term:
        return message  # PySyncObj drops it
    return _without_matching(message, log)


def _without_matching(message: Message, log: LogTerms) -> Message:
    """G2: PySyncObj truncates behind `prevLogIdx` even what matches. Begin behind what matches."""
    previous, entries = message["prevLogIdx"], message["entries"]
    if previous is None or log.term_at(previous) != message["prevLogTerm"]:
        return message  # PySyncObj asks for earlier entries
    matching = 0
    while matching < len(entries) and log.term_at(entries[matching][1]) == entries[matching][2]:
        matching += 1
    if matching < len(entries):
        return _behind(message, matching) if matching else message
    # All of it is here already. If our last entry is of the sender's term, it wrote that too, and
    # our whole log is its log's beginning: keep what is behind the message as well.
    if log.term_at(log.last_index) == message["term"]:
        at = {"prevLogIdx": log.last_index, "prevLogTerm": message["term"]}
        return {**message, **at, "entries": ()}
    return _behind(message, matching) if matching else message


def _behind(message: Message, count: int) -> Message:
    _, index, term = message["entries"][count - 1]
    at = {"prevLogIdx": index, "prevLogTerm": term}
    return {**message, **at, "entries": message["entries"][count:]}
