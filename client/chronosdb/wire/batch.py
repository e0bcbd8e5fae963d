"""EventBatch: events as columns.

The same bytes are the publish frame's body, the log record's body and the delivery frame's body:
encoded once by the publisher, sliced by everyone after.

Layout, little-endian, no padding (n = count)::

    count u32 | due i64[n] | payload_len u32[n] | meta_len u32[n] | key_len u16[n]
    | id_len u8[n] | flags u8[n] | ids | bodies          body = [expires i64] ‖ key ‖ meta ‖ payload

`due` is epoch ms, or NOW: the leader stamps the time at which it stores the event. An event without
key or meta has length 0 there. `meta` is a msgpack map. Flag bit 0 (RELATIVE): the times were
computed from the moment of the call, so they are not part of the event's identity. Flag bit 1
(EXPIRES): the body begins with the time, epoch ms, from which the event is not delivered any more.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, pairwise
from operator import attrgetter
from typing import Final, NamedTuple

from chronosdb.wire.errors import InvalidArgument, ProtocolError
from chronosdb.wire.event import check_expiry
from chronosdb.wire.limits import (
    MAX_BATCH_EVENTS,
    MAX_KEY_BYTES,
    MAX_MESSAGE_ID_BYTES,
    MAX_META_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_TIME_MS,
)

if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("ChronosDB maps its little-endian columns directly: big-endian hosts cannot")

NOW: Final = -(2**63)
RELATIVE: Final = 1
EXPIRES: Final = 2
_KNOWN_FLAGS: Final = bytes(range((RELATIVE | EXPIRES) + 1))

_COUNT_BYTES: Final = 4
#: Bytes of fixed columns per event: due 8, payload_len 4, meta_len 4, key_len 2, id_len 1, flags 1.
_ROW_BYTES: Final = 20
_EXPIRY_BYTES: Final = 8
_ID_LENGTHS: Final = bytes(range(1, MAX_MESSAGE_ID_BYTES + 1))
#: The highest bytes of times well below MAX_TIME_MS, and not below 0.
_USUAL_TIMES: Final = bytes(range(MAX_TIME_MS >> 56))
#: From an event's flags to the length of its expiry.
_EXPIRY_LEN: Final = bytes(_EXPIRY_BYTES if flags & EXPIRES else 0 for flags in range(256))


class Row(NamedTuple):
    """One event's raw fields, in the order a batch is built from."""

    message_id: bytes
    due_ms: int
    key: bytes
    meta: bytes
    payload: bytes
    #: EXPIRES need not be said: it follows from `expires_ms`.
    flags: int = 0
    expires_ms: int | None = None


def encode_batch(rows: Sequence[Row]) -> bytes:
    """The batch of `rows`.

    Raises:
        InvalidArgument: no rows, or more than a batch may hold.
    """
    if not 1 <= len(rows) <= MAX_BATCH_EVENTS:
        raise InvalidArgument(f"a batch holds 1 to {MAX_BATCH_EVENTS} events, not {len(rows)}")
    ids, dues, keys, metas, payloads, flags, expires = zip(*rows, strict=True)
    return encode_columns(
        ids=ids,
        dues=dues,
        keys=keys,
        metas=metas,
        payloads=payloads,
        flags=flags,
        expires=expires,
    )


def encode_columns(
    *,
    ids: Sequence[bytes],
    dues: Sequence[int],
    keys: Sequence[bytes],
    metas: Sequence[bytes],
    payloads: Sequence[bytes],
    flags: Sequence[int],
    expires: Sequence[int | None] = (),
) -> bytes:
    """As `encode_batch`, from columns of one length.

    `keys`, `metas`, `flags` and `expires` may be empty: no event has any.
    """
    count = len(ids)
    assert 1 <= count <= MAX_BATCH_EVENTS
    assert count == len(dues) == len(payloads)
    assert {len(keys), len(metas), len(flags), len(expires)} <= {0, count}
    expiries: Sequence[bytes] = ()
    if expires:
        expiries = [_expiry(time) for time in expires]
        flags = [
            (flag & ~EXPIRES) | (EXPIRES if expiry else 0)
            for flag, expiry in zip(flags or bytes(count), expiries, strict=True)
        ]
    return b"".join(
        (
            count.to_bytes(_COUNT_BYTES, "little"),
            array("q", dues).tobytes(),
            array("I", list(map(len, payloads))).tobytes(),
            array("I", map(len, metas)).tobytes() if metas else bytes(4 * count),
            array("H", map(len, keys)).tobytes() if keys else bytes(2 * count),
            bytes(map(len, ids)),
            bytes(flags) or bytes(count),
            *ids,
            *_bodies(expiries, keys, metas, payloads),
        )
    )


def _expiry(expires_ms: int | None) -> bytes:
    return b"" if expires_ms is None else expires_ms.to_bytes(_EXPIRY_BYTES, "little", signed=True)


def _bodies(*columns: Sequence[bytes]) -> Iterable[bytes]:
    """The columns row by row; the last, most often the only one with bytes in it, as it is."""
    *others, payloads = columns
    filled = [column for column in others if column and any(column)]
    return chain.from_iterable(zip(*filled, payloads, strict=True)) if filled else payloads


class EventBatch:
    """A checked, read-only view of encoded columns. Nothing is copied until a field is asked for.

    Invariant: after construction every length column adds up to exactly the bytes present, so no
    accessor can run past the end.
    """

    __slots__ = (
        "_bodies_at",
        "_body_columns",
        "_body_ends",
        "_id_ends",
        "_id_size",
        "_ids_at",
        "_payload_bytes",
        "blob",
        "count",
        "due",
        "expiry_len",
        "flags",
        "id_len",
        "key_len",
        "meta_len",
        "payload_len",
    )

    def __init__(self, blob: bytes | memoryview) -> None:
        """Raises ProtocolError when the columns and the bytes do not agree."""
        view = memoryview(blob)
        self.blob = view
        self.count = n = int.from_bytes(view[:_COUNT_BYTES], "little")
        fixed_end = _COUNT_BYTES + n * _ROW_BYTES
        if not 1 <= n <= MAX_BATCH_EVENTS or fixed_end > len(view):
            raise ProtocolError(f"a batch claims {n} events in {len(view)} bytes")
        at = _COUNT_BYTES
        self.due = view[at : at + 8 * n].cast("q")
        self.payload_len = view[at + 8 * n : at + 12 * n].cast("I")
        self.meta_len = view[at + 12 * n : at + 16 * n].cast("I")
        self.key_len = view[at + 16 * n : at + 18 * n].cast("H")
        self.id_len = view[at + 18 * n : at + 19 * n]
        self.flags = view[at + 19 * n : at + 20 * n]
        lengths = bytes(self.flags).translate(_EXPIRY_LEN)
        #: One byte per event; empty when none expires, so that whoever has no such events pays nothing.
        self.expiry_len = lengths if _EXPIRY_BYTES in lengths else b""
        self._ids_at = fixed_end
        #: The one length of all ids, as most publishers make them; 0: they differ.
        self._id_size = self.id_len[0] if bytes(self.id_len).count(self.id_len[0]) == n else 0
        self._bodies_at = fixed_end + (self._id_size * n or sum(self.id_len))
        #: The columns that say how long the bodies are, without those that say nothing.
        self._body_columns: list[Iterable[int]] = [self.payload_len]
        #: Bytes of all payloads together.
        self._payload_bytes = sum(self.payload_len)
        end = self._bodies_at + self._payload_bytes
        for column in (self.key_len, self.meta_len, self.expiry_len):
            # Counting zeros is a twentieth of adding them up.
            if bytes(column).count(0) != memoryview(column).nbytes:
                self._body_columns.append(column)
                end += sum(column)
        if end != len(view):
            raise ProtocolError(f"a batch's lengths add up to {end} bytes, but it has {len(view)}")
        self._id_ends: list[int] | None = None
        self._body_ends: list[int] | None = None

    def check_limits(self) -> None:
        """What a leader accepts from a publisher.

        Raises:
            InvalidArgument: an id, key, meta, payload or time is beyond its limit, an event expires
                before it is due, or a flag is none of this version.
        """
        if wrong := bytes(self.id_len).translate(None, _ID_LENGTHS):
            raise InvalidArgument(
                f"message_id is {wrong[0]} bytes; 1 to {MAX_MESSAGE_ID_BYTES} are allowed"
            )
        if len(self._body_columns) > 1:
            _at_most("key", self.key_len, MAX_KEY_BYTES)
            _at_most("meta", self.meta_len, MAX_META_BYTES)
        if self._payload_bytes > MAX_PAYLOAD_BYTES:
            _at_most("payload", self.payload_len, MAX_PAYLOAD_BYTES)
        # Nearly always the highest bytes alone say that every time is inside the range.
        unusual = bytes(self.due)[7::8].translate(None, _USUAL_TIMES)
        if unusual and max(self.due) > MAX_TIME_MS:
            raise InvalidArgument(f"schedule_ts {max(self.due)} is after {MAX_TIME_MS} ms")
        if unknown := bytes(self.flags).translate(None, _KNOWN_FLAGS):
            raise InvalidArgument(
                f"flags {unknown[0]:#x} have a bit that this version does not know"
            )
        self.check_expiries()

    def check_expiries(self) -> None:
        """That each event can be delivered for a while.

        Raises:
            InvalidArgument: one expires before it is due, or beyond the range of times.
        """
        for i, length in enumerate(self.expiry_len):
            if length:
                check_expiry(self.expires(i), self.due[i])

    @property
    def id_ends(self) -> list[int]:
        """Where each id ends in `blob`; one more entry than events, the first is where they begin."""
        if self._id_ends is None:
            self._id_ends = list(accumulate(self.id_len, initial=self._ids_at))
        return self._id_ends

    @property
    def body_ends(self) -> list[int]:
        """Where each body ends in `blob`; one more entry than events."""
        if self._body_ends is None:
            lengths, *others = self._body_columns
            if others:
                lengths = map(sum, zip(lengths, *others, strict=True))
            self._body_ends = list(accumulate(lengths, initial=self._bodies_at))
        return self._body_ends

    def ids(self) -> list[bytes]:
        """Every message id."""
        ids = bytes(self.blob[self._ids_at : self._bodies_at])
        if self._id_size:
            return list(struct.unpack(f"{self._id_size}s" * self.count, ids))
        base = self._ids_at
        return [ids[start - base : stop - base] for start, stop in pairwise(self.id_ends)]

    def message_id(self, i: int) -> bytes:
        """The id of event `i`."""
        ends = self._id_ends or self.id_ends
        return bytes(self.blob[ends[i] : ends[i + 1]])

    def expires(self, i: int) -> int | None:
        """From when on event `i` is not delivered any more, epoch ms; None: there is no such time."""
        if not self.expiry_len or not self.expiry_len[i]:
            return None
        start = self.body_ends[i]
        return int.from_bytes(self.blob[start : start + _EXPIRY_BYTES], "little", signed=True)

    def key(self, i: int) -> bytes | None:
        """The key of event `i`, None when it has none."""
        stop = self.body_ends[i + 1] - self.payload_len[i] - self.meta_len[i]
        return bytes(self.blob[stop - self.key_len[i] : stop]) or None

    def meta(self, i: int) -> bytes:
        """The encoded headers of event `i`, empty when it has none."""
        stop = self.body_ends[i + 1] - self.payload_len[i]
        return bytes(self.blob[stop - self.meta_len[i] : stop])

    def payload(self, i: int) -> bytes:
        """The payload of event `i`."""
        stop = (self._body_ends or self.body_ends)[i + 1]
        return bytes(self.blob[stop - self.payload_len[i] : stop])

    def body(self, i: int) -> memoryview:
        """Expiry, key, meta and payload of event `i`, as stored."""
        return self.blob[self.body_ends[i] : self.body_ends[i + 1]]

    def with_due(self, due: bytes) -> EventBatch:
        """This batch with its due column replaced by `due` (i64, little-endian)."""
        assert len(due) == 8 * self.count
        rest = self.blob[_COUNT_BYTES + len(due) :]
        return EventBatch(b"".join((self.blob[:_COUNT_BYTES], due, rest)))

    def select(self, indices: Sequence[int]) -> EventBatch:
        """A batch of only these events."""
        ids, bodies, blob = self.id_ends, self.body_ends, self.blob
        columns = (
            ("q", self.due),
            ("I", self.payload_len),
            ("I", self.meta_len),
            ("H", self.key_len),
            ("B", self.id_len),
            ("B", self.flags),
        )
        return EventBatch(
            b"".join(
                (
                    len(indices).to_bytes(_COUNT_BYTES, "little"),
                    *(array(kind, map(c.__getitem__, indices)).tobytes() for kind, c in columns),
                    *[blob[ids[i] : ids[i + 1]] for i in indices],
                    *[blob[bodies[i] : bodies[i + 1]] for i in indices],
                )
            )
        )

    def same_content(self, i: int, other: EventBatch, j: int) -> bool:
        """Whether two events with one id are one event: equal bytes, and no two explicit times."""
        if (self.flags[i] ^ other.flags[j]) & EXPIRES:
            return False
        relative = (self.flags[i] | other.flags[j]) & RELATIVE or NOW in {self.due[i], other.due[j]}
        times, theirs = (self.due[i], self.expires(i)), (other.due[j], other.expires(j))
        lengths = (self.key_len[i], self.meta_len[i]) == (other.key_len[j], other.meta_len[j])
        return (bool(relative) or times == theirs) and lengths and self._said(i) == other._said(j)

    def _said(self, i: int) -> memoryview:
        """Key, meta and payload of event `i`."""
        start, stop = self.body_ends[i], self.body_ends[i + 1]
        return self.blob[start + (self.expiry_len[i] if self.expiry_len else 0) : stop]


#: The fixed columns in their order.
_COLUMNS: Final = tuple(
    attrgetter(name) for name in ("due", "payload_len", "meta_len", "key_len", "id_len", "flags")
)


class BatchBuilder:
    """Joins slices of batches into a new batch without looking at single events."""

    def __init__(self) -> None:
        self._slices: list[tuple[EventBatch, int, int]] = []
        self._ids: list[memoryview] = []
        self._bodies: list[memoryview] = []
        self.count = 0
        self.nbytes = _COUNT_BYTES

    def add(self, batch: EventBatch, start: int, stop: int) -> None:
        """Append events `start` … `stop` - 1 of `batch`."""
        blob, ids, bodies = batch.blob, batch.id_ends, batch.body_ends
        self._slices.append((batch, start, stop))
        self._ids.append(blob[ids[start] : ids[stop]])
        self._bodies.append(blob[bodies[start] : bodies[stop]])
        self.count += stop - start
        self.nbytes += (
            (stop - start) * _ROW_BYTES + ids[stop] - ids[start] + bodies[stop] - bodies[start]
        )

    def build(self, due: bytes | None = None) -> bytes:
        """The new batch's bytes; `due` (i64, little-endian) goes in the place of its due column."""
        assert due is None or len(due) == 8 * self.count
        pieces: list[bytes | memoryview] = [self.count.to_bytes(_COUNT_BYTES, "little")]
        columns = _COLUMNS
        if due is not None:
            pieces.append(due)
            columns = _COLUMNS[1:]
        for column in columns:
            pieces += [column(batch)[start:stop] for batch, start, stop in self._slices]
        return b"".join((*pieces, *self._ids, *self._bodies))


def _at_most(name: str, lengths: memoryview[int], high: int) -> None:
    if (longest := max(lengths)) > high:
        raise InvalidArgument(f"{name} is {longest} bytes; 0 to {high} are allowed")
