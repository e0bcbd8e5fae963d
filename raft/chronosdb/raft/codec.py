"""Stands where PySyncObj has `pickle`: msgpack, and only the one shape we ever write.

PySyncObj keeps a command as `(method id, args)`. There is one replicated method, number 0, with
one bytes argument. Loading is total: an entry that raised would stop every replica for good, so
whatever is not that shape becomes an empty command, which the state machine calls unsupported.
"""

from __future__ import annotations

from typing import TypeAlias

import msgpack

_Call: TypeAlias = tuple[int, tuple[bytes]]
_UNREADABLE: _Call = (0, (b"",))


def dumps(call: _Call) -> bytes:
    """The bytes of a call of the one replicated method."""
    blob: bytes = msgpack.packb(call)
    return blob


def loads(data: bytes) -> _Call:
    """Inverse of `dumps`; an empty command for anything else."""
    try:
        match msgpack.unpackb(data):
            case [0, [bytes(blob)]]:
                return (0, (blob,))
    except ValueError:  # every error of msgpack derives from it
        pass
    return _UNREADABLE
