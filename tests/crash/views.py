"""A view store that remembers what it held after each change: a power cut may take it back to any."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import final

from chronosdb.wal import KeyValue, MemoryKV


@final
class RememberingViews:
    """The views of one machine, over all its lives."""

    def __init__(self) -> None:
        self._store = MemoryKV()
        #: What it held, oldest first. Never empty.
        self.history: list[dict[bytes, bytes]] = [{}]

    def open(self) -> KeyValue:
        """The store, for a node."""
        return _Remembered(self._store, self._remember)

    def revert(self, age: int) -> None:
        """Goes back by so many changes, as after a power cut."""
        del self.history[max(1, len(self.history) - age) :]
        self._store = store_of(self.history[-1])

    def _remember(self) -> None:
        self.history.append(dict(self._store.scan()))


def store_of(rows: dict[bytes, bytes]) -> MemoryKV:
    """A store that holds these rows."""
    store = MemoryKV()
    store.write(rows.items())
    return store


@final
class _Remembered:
    """A part of the store; every change of it is noted."""

    def __init__(self, part: KeyValue, remember: Callable[[], None]) -> None:
        self._part = part
        self._remember = remember

    def get(self, key: bytes) -> bytes | None:
        return self._part.get(key)

    def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]:
        return self._part.get_many(keys)

    def last(self) -> bytes | None:
        return self._part.last()

    def write(self, puts: Iterable[tuple[bytes, bytes]], deletes: Iterable[bytes] = ()) -> None:
        self._part.write(puts, deletes)
        self._remember()

    def scan(self, start: bytes = b"", stop: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        return self._part.scan(start, stop)

    def delete_range(self, start: bytes, stop: bytes | None = None) -> None:
        self._part.delete_range(start, stop)
        self._remember()

    def namespaced(self, prefix: bytes) -> KeyValue:
        return _Remembered(self._part.namespaced(prefix), self._remember)

    def close(self) -> None:
        self._part.close()
