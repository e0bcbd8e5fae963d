"""Unsigned integers below 2**63 in base 128, least significant group first (LEB128)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from chronosdb.sched.errors import CorruptStateError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

VALUE_MAX: Final = (1 << 63) - 1
_SHIFT_MAX: Final = 56


def encode(values: Iterable[int]) -> bytes:
    """The values one behind the other, 1 to 9 bytes each."""
    out = bytearray()
    for value in values:
        assert 0 <= value <= VALUE_MAX
        rest = value
        while rest >= 0x80:
            out.append(rest & 0x7F | 0x80)
            rest >>= 7
        out.append(rest)
    return bytes(out)


def decode(data: bytes) -> Iterator[int]:
    """Every value of `data`, to its last byte.

    Raises:
        CorruptStateError: a value is cut short, does not fit, or is longer than it need be.
    """
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        if byte >= 0x80:
            shift += 7
            if shift > _SHIFT_MAX:
                raise CorruptStateError("a number in the stored state does not fit 63 bits")
            continue
        if shift and not byte:
            raise CorruptStateError("a number in the stored state has a needless zero byte")
        yield value
        value = shift = 0
    if shift:
        raise CorruptStateError("the stored state ends inside a number")
