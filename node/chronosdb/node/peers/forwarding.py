"""The outcome of a command as the leader tells it to the node that forwarded the command (pure)."""

from __future__ import annotations

from typing import Final

import msgspec

from chronosdb.raft import (
    NotLeadingError,
    Outcome,
    OutcomeUnknownError,
    RefusedError,
    Result,
)

_NOT_LEADING: Final = "not_leading"
_REFUSED: Final = "refused"
_UNKNOWN: Final = "unknown"


class _Told(msgspec.Struct, frozen=True, array_like=True):
    #: A result's four fields, if there is one.
    result: tuple[str, str, bool, int] | None
    #: Otherwise, why not, and what that means.
    meaning: str
    text: str
    #: The leader had applied so much: whoever has, too, sees what the command did.
    applied_index: int


_DECODER = msgspec.msgpack.Decoder(_Told)


def pack(outcome: Outcome, applied_index: int) -> bytes:
    """The answer's bytes."""
    match outcome:
        case Result():
            fields = (outcome.status.value, outcome.detail, outcome.created, outcome.id)
            told = _Told(fields, "", "", applied_index)
        case NotLeadingError():
            told = _Told(None, _NOT_LEADING, str(outcome), applied_index)
        case RefusedError():
            told = _Told(None, _REFUSED, str(outcome), applied_index)
        case _:
            told = _Told(None, _UNKNOWN, str(outcome), applied_index)
    return msgspec.msgpack.encode(told)


def unpack(body: bytes) -> tuple[Outcome, int]:
    """Inverse of `pack`; what cannot be read is an unknown outcome."""
    try:
        told = _DECODER.decode(body)
        if told.result is not None:
            return Result.from_plain(told.result), told.applied_index
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return OutcomeUnknownError(f"the leader's answer cannot be read: {error}"), 0
    if told.meaning == _NOT_LEADING:
        return NotLeadingError(told.text), told.applied_index
    if told.meaning == _REFUSED:
        return RefusedError(told.text), told.applied_index
    return OutcomeUnknownError(told.text), told.applied_index
