"""Events as columns: what a publish encodes, without a Python object per event in between."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, TypeVar

from chronosdb.client.ids import IdMaker
from chronosdb.client.meta import encode_meta
from chronosdb.wire import Event, encode_columns, partition_for
from chronosdb.wire.batch import NOW, RELATIVE

T = TypeVar("T")

#: A frame holds no more than this, unless one event alone is larger: the node commits frame by frame,
#: so larger ones would only wait longer for their turn.
FRAME_BYTES: Final = 1024 * 1024
FRAME_EVENTS: Final = 4096

#: Bytes of fixed columns per event (see `chronosdb.wire.batch`).
_ROW_BYTES: Final = 20
_EXPIRY_BYTES: Final = 8

_fields = attrgetter(
    "message_id", "schedule_ts", "key", "meta", "payload", "relative", "expires_ts"
)


@dataclass(frozen=True, slots=True)
class Columns:
    """Checked events, one list per field. Invariant: all of one length, at least 1."""

    message_ids: Sequence[str]
    ids: Sequence[bytes]
    dues: Sequence[int]
    keys: Sequence[bytes]
    metas: Sequence[bytes]
    payloads: Sequence[bytes]
    flags: Sequence[int]
    #: When they expire; empty: none does.
    expires: Sequence[int | None]
    #: Bytes of each event in a batch.
    weights: Sequence[int]

    def by_partition(self, partitions: int) -> dict[int, list[int]]:
        """Which events go where: indices in order, by partition."""
        if partitions == 1:
            return {0: list(range(len(self.ids)))}
        groups: defaultdict[int, list[int]] = defaultdict(list)
        for index, (key, message_id) in enumerate(zip(self.keys, self.ids, strict=True)):
            groups[partition_for(key or None, message_id, partitions)].append(index)
        return groups

    def cut(self, indices: Sequence[int]) -> Iterator[Sequence[int]]:
        """`indices` in pieces that each fit a frame."""
        start = size = 0
        for at, weight in enumerate([self.weights[i] for i in indices]):
            full = size + weight > FRAME_BYTES or at - start == FRAME_EVENTS
            if full and at > start:
                yield indices[start:at]
                start, size = at, 0
            size += weight
        yield indices[start:]

    def encode(self, indices: Sequence[int]) -> bytes:
        """The batch of these events."""
        return encode_columns(
            ids=_picked(self.ids, indices),
            dues=_picked(self.dues, indices),
            keys=_picked(self.keys, indices),
            metas=_picked(self.metas, indices),
            payloads=_picked(self.payloads, indices),
            flags=_picked(self.flags, indices),
            expires=_picked(self.expires, indices) if self.expires else (),
        )


def columns_of(events: Sequence[Event], new_ids: IdMaker) -> Columns:
    """The columns of `events`, at least one; events without an id get one of `new_ids`.

    Raises:
        InvalidArgument: an event's headers cannot be sent.
    """
    assert events, "columns of no events"
    message_ids, dues, keys, metas, payloads, relatives, expires = zip(
        *map(_fields, events), strict=True
    )
    if expires.count(None) == len(expires):
        expires = ()
    names = _named(message_ids, new_ids)
    ids = list(map(str.encode, names))
    filled_keys = [key or b"" for key in keys]
    headers = [encode_meta(meta) if meta else b"" for meta in metas]
    # A little too much for those that do not expire, among others that do: frames may be smaller.
    row_bytes = _ROW_BYTES + _EXPIRY_BYTES if expires else _ROW_BYTES
    return Columns(
        message_ids=names,
        ids=ids,
        dues=[NOW if due is None else due for due in dues],
        keys=filled_keys,
        metas=headers,
        payloads=payloads,
        flags=[
            RELATIVE if relative or due is None else 0
            for due, relative in zip(dues, relatives, strict=True)
        ],
        expires=expires,
        weights=[
            row_bytes + len(message_id) + len(key) + len(header) + len(payload)
            for message_id, key, header, payload in zip(
                ids, filled_keys, headers, payloads, strict=True
            )
        ],
    )


def _named(message_ids: Sequence[str | None], new_ids: IdMaker) -> list[str]:
    fresh = iter(new_ids.take(message_ids.count(None)))
    return [next(fresh) if name is None else name for name in message_ids]


def _picked(column: Sequence[T], indices: Sequence[int]) -> Sequence[T]:
    # Indices ascend, so as many as there are entries are all of them, in order.
    return column if len(indices) == len(column) else [column[i] for i in indices]
