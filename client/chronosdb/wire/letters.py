"""Dead letters: how an event's headers carry the facts about its end, and how they are had back.

A header of the event that would be mistaken for a fact is kept as `original.<name>`, and so is one that
begins with `original.` itself: taking the facts off gives exactly the headers that were there.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

#: The dead letters of topic `orders` are in topic `orders.dlq`.
SUFFIX: Final = ".dlq"
_ORIGINAL: Final = "original."
#: Holds headers that are no msgpack map of names, as the bytes they are.
_UNDECODABLE: Final = "undecodable"


class Facts(msgspec.Struct, frozen=True):
    """Why an event is a dead letter, and where it was before; each is a header of that name."""

    reason: str
    group: str
    attempts: int
    topic: str
    partition: int
    offset: int
    message_id: str
    schedule_ts: int


_TAKEN: Final = frozenset({*Facts.__struct_fields__, _UNDECODABLE})
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, Any]).decode
_decode_facts = msgspec.msgpack.Decoder(Facts).decode


def dead_letter_topic(topic: str) -> str:
    """Where a topic's dead letters go; those of a dead-letter topic come back to it."""
    return topic.removesuffix(SUFFIX) + SUFFIX


def with_facts(meta: bytes, facts: Facts) -> bytes:
    """The headers of a dead letter whose event has the headers `meta`."""
    try:
        own = {_escaped(name): value for name, value in _headers(meta).items()}
        return _encode(own | msgspec.structs.asdict(facts))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _encode({_UNDECODABLE: meta} | msgspec.structs.asdict(facts))


def without_facts(meta: bytes) -> tuple[Facts | None, bytes]:
    """The inverse of `with_facts`; headers that it did not make are given back as they are."""
    try:
        headers = _headers(meta)
        facts = _decode_facts(meta)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None, meta
    raw = headers.get(_UNDECODABLE)
    if isinstance(raw, bytes):
        return facts, raw
    own = {
        name.removeprefix(_ORIGINAL): value for name, value in headers.items() if name not in _TAKEN
    }
    return facts, _encode(own) if own else b""


def _headers(meta: bytes) -> dict[str, Any]:
    return _decode(meta) if meta else {}


def _escaped(name: str) -> str:
    return _ORIGINAL + name if name in _TAKEN or name.startswith(_ORIGINAL) else name
