"""Views in memory, for tests, simulation, and a node inside another program's process."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, final

from chronosdb.wal.kv import after_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@final
class MemoryKV:
    """A dict with its keys in order."""

    def __init__(self) -> None:
        self._data: dict[bytes, bytes] = {}
        # The keys in order, or None since the last change of them: sorted again when next needed.
        self._ordered: list[bytes] | None = []

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        return self._data.get(key)

    def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """One value, or None, for each key."""
        get = self._data.get
        return [get(key) for key in keys]

    def last(self) -> bytes | None:
        """The highest key, or None."""
        keys = self.keys(b"", None)
        return keys[-1] if keys else None

    def write(self, puts: Iterable[tuple[bytes, bytes]], deletes: Iterable[bytes] = ()) -> None:
        """Applies all puts, then all deletes, or nothing if either iterable raises."""
        new, gone = dict(puts), list(deletes)
        before = len(self._data)
        self._data.update(new)
        if len(self._data) != before or any(key in self._data for key in gone):
            self._ordered = None
        for key in gone:
            self._data.pop(key, None)

    def scan(self, start: bytes = b"", stop: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """The pairs with ``start`` <= key < ``stop``, in key order, as they were at the first step."""
        keys = self.keys(start, stop)
        yield from [(key, self._data[key]) for key in keys]

    def delete_range(self, start: bytes, stop: bytes | None = None) -> None:
        """Removes what scan would give."""
        self.write((), self.keys(start, stop))

    def namespaced(self, prefix: bytes) -> _Namespace:
        """The part of this view whose keys begin with ``prefix``."""
        return _Namespace(self, prefix)

    def close(self) -> None:
        """Nothing to give back: the view stays readable, as a file would."""

    def keys(self, start: bytes, stop: bytes | None) -> list[bytes]:
        """Those with ``start`` <= key < ``stop``, in order."""
        if self._ordered is None:
            self._ordered = sorted(self._data)
        keys = self._ordered
        end = len(keys) if stop is None else bisect_left(keys, stop)
        return keys[bisect_left(keys, start) : end]


@final
class _Namespace:
    """The keys of a MemoryKV that begin with a prefix, without it."""

    def __init__(self, whole: MemoryKV, prefix: bytes) -> None:
        self._whole = whole
        self._prefix = prefix

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        return self._whole.get(self._prefix + key)

    def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """One value, or None, for each key."""
        return self._whole.get_many(self._prefix + key for key in keys)

    def last(self) -> bytes | None:
        """The highest key, or None."""
        keys = self._whole.keys(self._prefix, self._stop(None))
        return keys[-1][len(self._prefix) :] if keys else None

    def write(self, puts: Iterable[tuple[bytes, bytes]], deletes: Iterable[bytes] = ()) -> None:
        """Applies all puts, then all deletes, or nothing."""
        prefix = self._prefix
        self._whole.write(
            ((prefix + key, value) for key, value in puts), (prefix + key for key in deletes)
        )

    def scan(self, start: bytes = b"", stop: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """The pairs with ``start`` <= key < ``stop``, in key order, as they were at the first step."""
        cut = len(self._prefix)
        for key, value in self._whole.scan(self._prefix + start, self._stop(stop)):
            yield key[cut:], value

    def delete_range(self, start: bytes, stop: bytes | None = None) -> None:
        """Removes what scan would give."""
        self._whole.delete_range(self._prefix + start, self._stop(stop))

    def namespaced(self, prefix: bytes) -> _Namespace:
        """A part of this part."""
        return _Namespace(self._whole, self._prefix + prefix)

    def close(self) -> None:
        """Nothing: the whole view is closed by its owner."""

    def _stop(self, stop: bytes | None) -> bytes | None:
        return after_prefix(self._prefix) if stop is None else self._prefix + stop
