"""The seam to key-value views: ordered bytes to bytes, written in atomic batches.

A view is never synced and never trusted: it carries how much of the log it has applied, and on any
doubt it is thrown away and built again from the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class KeyValue(Protocol):
    """A view. Every method may raise ViewsDamaged."""

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""

    def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """One value, or None, for each key."""

    def last(self) -> bytes | None:
        """The highest key, or None."""

    def write(self, puts: Iterable[tuple[bytes, bytes]], deletes: Iterable[bytes] = ()) -> None:
        """Applies all puts, then all deletes, or nothing."""

    def scan(self, start: bytes = b"", stop: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """The pairs with ``start`` <= key < ``stop``, in key order, as they were at the first step."""

    def delete_range(self, start: bytes, stop: bytes | None = None) -> None:
        """Removes what scan would give. Not atomic: a crash may leave some of it."""

    def namespaced(self, prefix: bytes) -> KeyValue:
        """The part of this view whose keys begin with ``prefix``, which callers of it never see."""

    def close(self) -> None:
        """Gives the files back. Closing a namespace does nothing."""


def after_prefix(prefix: bytes) -> bytes | None:
    """The first key behind all keys that begin with ``prefix``; None if there is no such key."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None
