"""Events as columns: what a publish encodes, without a Python object per event in between."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
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


class Columns(NamedTuple):
    """Checked events, one list per field. Invariant: all of one length, at least 1.

    The last four are empty where no event has any: whoever has none pays nothing for them.
    """

    message_ids: Sequence[str]
    ids: Sequence[bytes]
    dues: Sequence[int]
    payloads: Sequence[bytes]
    keys: Sequence[bytes]
    metas: Sequence[bytes]
    flags: Sequence[int]
    expires: Sequence[int | None]

    def by_partition(self, partitions: int) -> dict[int, list[int]]:
        """Which events go where: indices in order, by partition."""
        if partitions == 1:
            return {0: list(range(len(self.ids)))}
        groups: defaultdict[int, list[int]] = defaultdict(list)
        keys = self.keys or [b""] * len(self.ids)
        for index, (key, message_id) in enumerate(zip(keys, self.ids, strict=True)):
            groups[partition_for(key or None, message_id, partitions)].append(index)
        return groups

    def cut(self, indices: Sequence[int]) -> Iterator[Sequence[int]]:
        """`indices` in pieces that each fit a frame."""
        if len(indices) <= FRAME_EVENTS and self._nbytes(indices) <= FRAME_BYTES:
            yield indices
            return
        weights = self._weights(indices)
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
            payloads=picked(self.payloads, indices),
            keys=picked(self.keys, indices),
            metas=picked(self.metas, indices),
            flags=picked(self.flags, indices),
            expires=picked(self.expires, indices),
        )

    def _nbytes(self, indices: Sequence[int]) -> int:
        """The bytes of these events in a batch; see `_weights`."""
        lengths = (sum(map(len, column)) for column in self._variable(indices))
        return len(indices) * self._row_bytes + sum(lengths)

    def _weights(self, indices: Sequence[int]) -> list[int]:
        """The bytes of each of these events in a batch.

        A little too many for those that do not expire, among others that do: frames may be smaller.
        """
        lengths = (map(len, column) for column in self._variable(indices))
        return [self._row_bytes + sum(one) for one in zip(*lengths, strict=True)]

    def _variable(self, indices: Sequence[int]) -> list[Sequence[bytes]]:
        """The columns of these events whose entries differ in length."""
        columns = (self.ids, self.payloads, self.keys, self.metas)
        return [picked(column, indices) for column in columns if column]

    @property
    def _row_bytes(self) -> int:
        return _ROW_BYTES + _EXPIRY_BYTES if self.expires else _ROW_BYTES


def columns_of(events: Sequence[Event], new_ids: IdMaker) -> Columns:
    """The columns of `events`, at least one; events without an id get one of `new_ids`.

    Raises:
        InvalidArgument: an event's headers cannot be sent.
    """
    assert events, "columns of no events"
    # A comprehension each: rows that are taken apart again would be a tuple per event.
    names = _named([event.message_id for event in events], new_ids)
    dues = [event.schedule_ts for event in events]
    keys = [event.key for event in events]
    metas = [event.meta for event in events]
    relatives = [event.relative for event in events]
    expires = [event.expires_ts for event in events]
    timed, lasting = None not in dues, any(relatives)
    return Columns(
        message_ids=names,
        ids=list(map(str.encode, names)),
        dues=cast("list[int]", dues) if timed else [NOW if due is None else due for due in dues],
        payloads=[event.payload for event in events],
        keys=[key or b"" for key in keys] if any(keys) else (),
        metas=[encode_meta(meta) for meta in metas] if any(metas) else (),
        flags=()
        if timed and not lasting
        else [
            RELATIVE if relative or due is None else 0
            for due, relative in zip(dues, relatives, strict=True)
        ],
        expires=() if expires.count(None) == len(expires) else expires,
    )


def _named(message_ids: Sequence[str | None], new_ids: IdMaker) -> Sequence[str]:
    missing = message_ids.count(None)
    if not missing:
        return cast("Sequence[str]", message_ids)
    fresh = iter(new_ids.take(missing))
    return [next(fresh) if name is None else name for name in message_ids]


def picked(column: Sequence[T], indices: Sequence[int]) -> Sequence[T]:
    """The entries of `column` at `indices`, which ascend; none where it is empty."""
    # As many as there are entries are all of them, in order.
    if not column or len(indices) == len(column):
        return column
    return [column[i] for i in indices]
