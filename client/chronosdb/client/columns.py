"""Events as columns: what a publish encodes, without a Python object per event in between."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from operator import add, attrgetter
from typing import Final, NamedTuple, TypeVar, cast

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


class Columns(NamedTuple):
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
        weights = self._weights(indices)
        if len(indices) <= FRAME_EVENTS and sum(weights) <= FRAME_BYTES:
            yield indices
            return
        start = size = 0
        for at, weight in enumerate(weights):
            full = size + weight > FRAME_BYTES or at - start == FRAME_EVENTS
            if full and at > start:
                yield indices[start:at]
                start, size = at, 0
            size += weight
        yield indices[start:]

    def encode(self, indices: Sequence[int]) -> bytes:
        """The batch of these events."""
        return encode_columns(
            ids=picked(self.ids, indices),
            dues=picked(self.dues, indices),
            keys=picked(self.keys, indices),
            metas=picked(self.metas, indices),
            payloads=picked(self.payloads, indices),
            flags=picked(self.flags, indices),
            expires=picked(self.expires, indices) if self.expires else (),
        )

    def _weights(self, indices: Sequence[int]) -> list[int]:
        """The bytes of each event in a batch, in C as long as it goes: this is for every event.

        A little too many for those that do not expire, among others that do: frames may be smaller.
        """
        row_bytes = _ROW_BYTES + _EXPIRY_BYTES if self.expires else _ROW_BYTES
        weights = map(len, picked(self.payloads, indices))
        for column in (self.ids, self.keys, self.metas):
            if any(column):
                weights = map(add, weights, map(len, picked(column, indices)))
        return list(map(row_bytes.__add__, weights))


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
    timed, lasting = dues.count(None) == 0, any(relatives)
    return Columns(
        message_ids=names,
        ids=list(map(str.encode, names)),
        dues=dues if timed else [NOW if due is None else due for due in dues],
        keys=[key or b"" for key in keys] if any(keys) else [b""] * len(names),
        metas=[encode_meta(meta) for meta in metas] if any(metas) else [b""] * len(names),
        payloads=payloads,
        flags=bytes(len(names))
        if timed and not lasting
        else [
            RELATIVE if relative or due is None else 0
            for due, relative in zip(dues, relatives, strict=True)
        ],
        expires=expires,
    )


def _named(message_ids: Sequence[str | None], new_ids: IdMaker) -> Sequence[str]:
    missing = message_ids.count(None)
    if not missing:
        return cast("Sequence[str]", message_ids)
    fresh = iter(new_ids.take(missing))
    return [next(fresh) if name is None else name for name in message_ids]


def picked(column: Sequence[T], indices: Sequence[int]) -> Sequence[T]:
    """The entries of `column` at `indices`, which ascend."""
    # As many as there are entries are all of them, in order.
    return column if len(indices) == len(column) else [column[i] for i in indices]
