"""The token of a replayed event: what was asked for, and how far each partition has come.

Opaque to applications. Bytes: msgpack of `Token`'s fields, in their order.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from chronosdb.wire.errors import InvalidArgument
from chronosdb.wire.limits import MAX_PARTITIONS_PER_TOPIC
from chronosdb.wire.messages.base import Key, Millis, Name, PartitionId
from chronosdb.wire.messages.replay import ReplayBy, ReplayPlace

#: Of these bytes; a token of another one is refused.
TOKEN_VERSION: Final = 1


class Token(Struct, frozen=True, array_like=True):
    """A place in a replay of a topic."""

    version: int
    topic: Name
    by: ReplayBy
    start: Millis | None
    end: Millis | None
    key: Key | None
    partition: PartitionId | None
    #: By partition; one that is missing has not begun.
    places: Annotated[dict[PartitionId, ReplayPlace], Meta(max_length=MAX_PARTITIONS_PER_TOPIC)]


encode_token = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Token).decode


def decode_token(raw: bytes) -> Token:
    """The token in these bytes.

    Raises:
        InvalidArgument: they are not a token that this version made.
    """
    try:
        token = _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError) as error:
        raise InvalidArgument(f"this is no token of a replayed event: {error}") from None
    if token.version != TOKEN_VERSION:
        raise InvalidArgument(
            f"a token of version {token.version}; this client reads version {TOKEN_VERSION}:"
            " begin again with start="
        )
    return token
