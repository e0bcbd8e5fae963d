"""Where carried events are: offset → the newest CARRY record that holds it.

Records applied since the last checkpoint are in memory, older ones in LevelDB: a row per run of offsets,
keyed by the last of them, so that one step forward from any offset finds its run. A row whose record has
been deleted counts for nothing. Asked by the thread that writes a checkpoint too.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from chronosdb.node.partition.carry import Carry
from chronosdb.wal import KeyValue, Log

_KEY: Final = struct.Struct(">Q")
#: The run's first offset, and the lsn of its record.
_VALUE: Final = struct.Struct("<QQ")


class Spans(NamedTuple):
    """The runs of one CARRY record."""

    lsn: int
    starts: list[int]
    #: Ascending.
    lasts: list[int]

    def hold(self, offset: int) -> bool:
        """Whether one of them holds an offset."""
        i = bisect_left(self.lasts, offset)
        return i < len(self.lasts) and self.starts[i] <= offset

    @classmethod
    def of(cls, carry: Carry) -> Spans:
        """Those of a record."""
        return cls(carry.start, carry.starts.tolist(), carry.lasts.tolist())


class CarriedIndex:
    """One partition's."""

    def __init__(self, store: KeyValue, log: Log) -> None:
        self._store = store
        self._log = log
        self.clear()

    def clear(self) -> None:
        """Know of none."""
        # Replaced, never changed: another thread may be reading them.
        #: Applied since the last checkpoint began.
        self._fresh: tuple[Spans, ...] = ()
        #: Being written by the running checkpoint.
        self._writing: tuple[Spans, ...] = ()

    def add(self, carry: Carry) -> None:
        """Take in a record."""
        self._fresh = (*self._fresh, Spans.of(carry))

    def find(self, offset: int) -> int | None:
        """The lsn of the record that holds the event at `offset`; None: it was not carried."""
        start_lsn = self._log.start_lsn
        for spans in (*reversed(self._fresh), *reversed(self._writing)):
            if spans.hold(offset):
                return spans.lsn if spans.lsn >= start_lsn else None
        for _, value in self._store.scan(_KEY.pack(offset)):
            start, lsn = _VALUE.unpack(value)
            if lsn >= start_lsn:
                return lsn if start <= offset else None
        return None

    def begin_checkpoint(self) -> Iterator[tuple[bytes, bytes]]:
        """The rows to write; they stay visible here until `end_checkpoint`."""
        assert not self._writing
        self._writing, self._fresh = self._fresh, ()
        return (
            (_KEY.pack(last), _VALUE.pack(start, spans.lsn))
            for spans in self._writing
            for start, last in zip(spans.starts, spans.lasts, strict=True)
        )

    def end_checkpoint(self) -> None:
        """The rows of `begin_checkpoint` are in the store."""
        self._writing = ()

    def forget(self, gone: Iterable[Spans]) -> None:
        """Remove the rows of records that are about to be deleted. Blocks: call it in a thread."""
        for spans in gone:
            keys = [_KEY.pack(last) for last in spans.lasts]
            values = self._store.get_many(keys)
            # A newer record may have taken a row over.
            rows = zip(keys, values, strict=True)
            self._store.write((), [k for k, v in rows if v and _VALUE.unpack(v)[1] == spans.lsn])
