"""The dedup index: message id → offset of the event that has it, inside the window.

Ids applied since the last checkpoint are in a dict, older ones in LevelDB. The window is measured on
log timestamps: an offset below `floor` was published too long ago to count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count

from chronosdb.wal import KeyValue

_OFFSET_BYTES = 8


class DedupIndex:
    """One partition's ids."""

    def __init__(self, store: KeyValue) -> None:
        self._store = store
        #: Applied since the last checkpoint began.
        self._fresh: dict[bytes, int] = {}
        #: Being written by the running checkpoint; dropped once they are in the store.
        self._writing: dict[bytes, int] = {}
        #: Events below this offset are outside the window. Invariant: never falls.
        self.floor = 0

    def add(self, ids: Iterable[bytes], first_offset: int) -> None:
        """Take in events with these ids, stored at `first_offset` and the offsets after it."""
        self._fresh.update(zip(ids, count(first_offset), strict=False))

    def find(self, ids: Sequence[bytes]) -> list[int | None] | None:
        """The offset of each id inside the window; None when not one of them is known."""
        stored = self._store.get_many(ids)
        in_memory = not (
            self._fresh.keys().isdisjoint(ids) and self._writing.keys().isdisjoint(ids)
        )
        if not in_memory and not any(stored):
            return None
        return [self._inside(self._newest(i, raw)) for i, raw in zip(ids, stored, strict=True)]

    def begin_checkpoint(self) -> Iterator[tuple[bytes, bytes]]:
        """The rows to write; they stay visible here until `end_checkpoint`."""
        assert not self._writing
        self._writing, self._fresh = self._fresh, {}
        return (
            (message_id, offset.to_bytes(_OFFSET_BYTES, "little"))
            for message_id, offset in self._writing.items()
        )

    def end_checkpoint(self) -> None:
        """The rows of `begin_checkpoint` are in the store."""
        self._writing = {}

    def superseded(self, ids: Sequence[bytes], first_offset: int) -> list[bytes]:
        """Which of these expired rows may be deleted: those that no later event has taken over.

        Such an event may be in the store already, or among the rows being written with the deletion.
        """
        stored = self._store.get_many(ids)
        return [
            message_id
            for n, (message_id, raw) in enumerate(zip(ids, stored, strict=True))
            if raw is not None
            and int.from_bytes(raw, "little") == first_offset + n
            and message_id not in self._writing
        ]

    def _newest(self, message_id: bytes, raw: bytes | None) -> int | None:
        for layer in (self._fresh, self._writing):
            if (offset := layer.get(message_id)) is not None:
                return offset
        return None if raw is None else int.from_bytes(raw, "little")

    def _inside(self, offset: int | None) -> int | None:
        return offset if offset is not None and offset >= self.floor else None
