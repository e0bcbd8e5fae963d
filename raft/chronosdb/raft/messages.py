"""The shape of every Raft message, checked before it can touch any state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, TypeAlias

from chronosdb.raft.errors import BadMessageError
from chronosdb.raft.limits import ENTRY_BYTES_MAX, INTEGER_MAX
from chronosdb.raft.transport import Message

_Check: TypeAlias = Callable[[Any], bool]

#: First byte of an entry: a command, or the empty entry of a new leader. PySyncObj knows two more,
#: membership and code version, which nothing here writes: voters change by a command (`voters.py`).
COMMAND_KIND = 0
_ENTRY_KINDS = (COMMAND_KIND, 1)


def _number(value: Any) -> bool:
    return type(value) is int and 0 <= value <= INTEGER_MAX


def _number_or_none(value: Any) -> bool:
    return value is None or _number(value)


def _flag(value: Any) -> bool:
    return type(value) is bool


def _entries(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(_is_entry(entry) for entry in value)


def _is_entry(value: Any) -> bool:
    match value:
        case [bytes(command), index, term]:
            return (
                0 < len(command) <= ENTRY_BYTES_MAX
                and command[0] in _ENTRY_KINDS
                and _number(index)
                and _number(term)
            )
    return False


def _snapshot_chunk(value: Any) -> bool:
    match value:
        case None:
            return True
        case [bytes(), bool(), bool(), position]:
            return _number(position)
    return False


_VOTE: Mapping[str, _Check] = {
    "term": _number,
    "last_log_index": _number,
    "last_log_term": _number,
}
_ENTRIES: Mapping[str, _Check] = {
    "term": _number,
    "commit_index": _number,
    "entries": _entries,
    "prevLogIdx": _number_or_none,
    "prevLogTerm": _number_or_none,
}
_SNAPSHOT: Mapping[str, _Check] = {
    "term": _number,
    "commit_index": _number,
    "serialized": _snapshot_chunk,
}
_ACK: Mapping[str, _Check] = {
    "term": _number,
    "next_node_idx": _number,
    "reset": _flag,
    "success": _flag,
}
_TERM: Mapping[str, _Check] = {"term": _number}
_PRE_VOTE_ANSWER: Mapping[str, _Check] = {"term": _number, "asked": _number, "granted": _flag}

#: message type -> the field sets it may have. Forwarded commands and entries split over several
#: messages are PySyncObj's too, and are missing on purpose: we send neither.
_SHAPES: Mapping[str, tuple[Mapping[str, _Check], ...]] = {
    "request_vote": (_VOTE,),
    "response_vote": (_TERM,),
    "append_entries": (_ENTRIES, _SNAPSHOT),
    "next_node_idx": (_ACK,),
    "timeout_now": (_TERM,),
    # Ours, never shown to PySyncObj: see `canvass.py`.
    "pre_vote": (_VOTE,),
    "pre_vote_answer": (_PRE_VOTE_ANSWER,),
    "outdated": (_TERM,),
}


def check(message: Message) -> None:
    """Raise BadMessageError unless `message` has exactly the fields of its type, well typed."""
    kind = message.get("type")
    if not isinstance(kind, str) or kind not in _SHAPES:
        raise BadMessageError(f"no Raft message has type {kind!r:.40}")
    names = message.keys() - {"type"}
    for shape in _SHAPES[kind]:
        if names == shape.keys() and all(ok(message[name]) for name, ok in shape.items()):
            _check_order(message.get("entries") or ())
            return
    raise BadMessageError(f"a {kind} message with wrong or ill-typed fields")


def _check_order(entries: Any) -> None:
    for (_, index, term), (_, next_index, next_term) in pairwise(entries):
        if next_index != index + 1 or next_term < term:
            raise BadMessageError("entries out of order")
