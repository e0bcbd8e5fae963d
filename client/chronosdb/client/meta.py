"""Event headers ↔ the msgpack map that an event carries. The only user of msgspec in the client."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from chronosdb.wire.errors import InvalidArgument, ProtocolError
from chronosdb.wire.event import Meta, MetaValue
from chronosdb.wire.limits import MAX_META_BYTES

_VALUES: Final = (str, bytes, int, float, bool, type(None))
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, Any]).decode


def encode_meta(meta: Meta) -> bytes:
    """The headers' bytes; empty for no headers.

    Raises:
        InvalidArgument: a key is not a str, a value is of another type, or together they are too big.
    """
    if not meta:
        return b""
    for name, value in meta.items():
        if not isinstance(name, str) or not isinstance(value, _VALUES):
            raise InvalidArgument(
                f"meta must map str to str, bytes, int, float, bool or None;"
                f" found {type(name).__name__} to {type(value).__name__}"
            )
    try:
        raw = _encode(dict(meta))
    except (OverflowError, UnicodeEncodeError) as error:
        raise InvalidArgument(f"meta cannot be encoded: {error}") from None
    if len(raw) > MAX_META_BYTES:
        raise InvalidArgument(f"meta is {len(raw)} bytes; at most {MAX_META_BYTES} are allowed")
    return raw


def decode_meta(raw: bytes) -> dict[str, MetaValue]:
    """The headers of an event.

    Raises:
        ProtocolError: the publisher sent something else.
    """
    if not raw:
        return {}
    try:
        return _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"an event's meta is not a msgpack map of str: {error}") from None
