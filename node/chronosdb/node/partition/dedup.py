"""The dedup index: message id → offset of the event that has it.

An id is known for the dedup window after its publish, and for as long as its event is pending. Ids
applied since the last checkpoint are in a dict, older ones in LevelDB, which is not even asked for ids
above all that it has: those that clients make ascend. The window is measured on log timestamps: an
offset below `floor` was published too long ago to count by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat

from chronosdb.wal import KeyValue

_OFFSET_BYTES = 8


class DedupIndex:
    """One partition's ids."""

    def __init__(self, store: KeyValue, is_pending: Callable[[int], bool]) -> None:
        self._store = store
        self._is_pending = is_pending
        #: Applied since the last checkpoint began.
        self._fresh: dict[bytes, int] = {}
        #: Invariant: no id in `_fresh` is above it.
        self._highest_fresh = b""
        #: Invariant: no id in the store, or on its way there, is above it.
        self._highest_stored = store.last() or b""
        #: Being written by the running checkpoint; dropped once they are in the store.
        self._writing: dict[bytes, int] = {}
        #: Events below this offset are outside the window. Invariant: never falls.
        self.floor = 0

    def add(self, offsets: Mapping[bytes, int]) -> None:
        """Take in events by id, stored at these offsets."""
        self._fresh.update(offsets)
        self._highest_fresh = max(self._highest_fresh, max(offsets, default=b""))

    def find(self, ids: Sequence[bytes]) -> list[int | None] | None:
        """The offset of each id that is known; None when not one of them was ever seen."""
        lowest = min(ids, default=b"")
        stored = self._store.get_many(ids) if lowest <= self._highest_stored else None
        fresh = lowest <= self._highest_fresh and not self._fresh.keys().isdisjoint(ids)
        if not fresh and (stored is None or not (any(stored) or self._is_writing(ids))):
            return None
        rows = stored or repeat(None)
        return [self._inside(self._newest(i, raw)) for i, raw in zip(ids, rows, strict=False)]

    def begin_checkpoint(self) -> Iterator[tuple[bytes, bytes]]:
        """The rows to write; they stay visible here until `end_checkpoint`."""
        assert not self._writing
        self._writing, self._fresh = self._fresh, {}
        self._highest_stored = max(self._highest_stored, self._highest_fresh)
        return (
            (message_id, offset.to_bytes(_OFFSET_BYTES, "little"))
            for message_id, offset in self._writing.items()
        )

    def end_checkpoint(self) -> None:
        """The rows of `begin_checkpoint` are in the store."""
        self._writing = {}

    def obsolete(self, rows: Sequence[tuple[bytes, int]]) -> list[bytes]:
        """Of ids and offsets that are to be forgotten, the ids whose rows the running checkpoint deletes.

        A later event may have taken an id over: in the store already, or in what is being written
        with the deletions, and before them.
        """
        stored = self._store.get_many([message_id for message_id, _ in rows])
        return [
            message_id
            for (message_id, offset), raw in zip(rows, stored, strict=True)
            if self._saved(message_id, raw) == offset
        ]

    def _is_writing(self, ids: Sequence[bytes]) -> bool:
        """Whether the running checkpoint writes one of these."""
        return not self._writing.keys().isdisjoint(ids)

    def _newest(self, message_id: bytes, raw: bytes | None) -> int | None:
        offset = self._fresh.get(message_id)
        return self._saved(message_id, raw) if offset is None else offset

    def _saved(self, message_id: bytes, raw: bytes | None) -> int | None:
        """The offset that the store has, or will have, when it has `raw` now."""
        offset = self._writing.get(message_id)
        if offset is None and raw is not None:
            return int.from_bytes(raw, "little")
        return offset

    def _inside(self, offset: int | None) -> int | None:
        if offset is None or offset >= self.floor or self._is_pending(offset):
            return offset
        return None
