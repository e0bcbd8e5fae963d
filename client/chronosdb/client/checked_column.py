"""One column of an answer, whose length must be what the others say."""

from __future__ import annotations

from typing import Final, Literal

from chronosdb.wire.errors import ProtocolError

_ITEM_BYTES: Final = {"q": 8, "H": 2}


def checked_column(
    name: str, raw: memoryview, count: int, kind: Literal["q", "H"] = "q"
) -> memoryview[int]:
    """`raw` as `count` integers, 64 bits with a sign ("q") or 16 without ("H").

    Raises:
        ProtocolError: it holds another number of them.
    """
    expected = _ITEM_BYTES[kind] * count
    if len(raw) != expected:
        raise ProtocolError(f"column {name} has {len(raw)} bytes, not {expected}")
    return raw.cast("B").cast(kind)
