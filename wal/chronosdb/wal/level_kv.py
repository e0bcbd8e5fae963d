"""Views in LevelDB: the only import of plyvel."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, final

import plyvel

from chronosdb.wal.errors import ViewsDamaged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

WRITE_BUFFER_BYTES = 8 * 1024 * 1024

_BLOOM_FILTER_BITS = 10
_DELETES_PER_BATCH = 10_000


@final
class LevelKV:
    """A LevelDB database, or a namespace of one. Make one with :meth:`open_or_rebuild`."""

    def __init__(self, db: Any, *, owner: bool, rebuilt: bool, prefix: bytes = b"") -> None:
        self._db = db
        # Not plyvel's prefixed_db: nested twice, that makes a get take three times as long.
        self._prefix = prefix
        self._owner = owner
        self.rebuilt = rebuilt
        """Whether opening threw damaged files away: what was in the view is gone."""

    @classmethod
    def open_or_rebuild(cls, path: str, *, write_buffer_bytes: int = WRITE_BUFFER_BYTES) -> LevelKV:
        """Opens the database in ``path``, whose parent must exist; a damaged one is emptied.

        Raises:
            ViewsDamaged: it can be neither opened nor emptied: another process may have it open.
        """
        try:
            return cls(_open(path, write_buffer_bytes), owner=True, rebuilt=False)
        except plyvel.Error:
            # LevelDB takes its own lock before it destroys: a database in use survives this.
            with _damage_reported(f"rebuild {path}"):
                plyvel.destroy_db(path)
                return cls(_open(path, write_buffer_bytes), owner=True, rebuilt=True)

    @staticmethod
    def destroy(path: str) -> None:
        """Removes the database in ``path``, which nobody may have open.

        Raises:
            ViewsDamaged: it cannot be removed.
        """
        with _damage_reported(f"remove {path}"):
            plyvel.destroy_db(path)

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        with _damage_reported("get"):
            value: bytes | None = self._db.get(self._prefix + key, verify_checksums=True)
            return value

    def get_many(self, keys: Iterable[bytes]) -> list[bytes | None]:
        """One value, or None, for each key."""
        get, prefix = partial(self._db.get, verify_checksums=True), self._prefix
        with _damage_reported("get"):
            return [get(prefix + key) for key in keys]

    def last(self) -> bytes | None:
        """The highest key, or None."""
        with _damage_reported("get"), self._iterator(reverse=True, include_value=False) as keys:
            key: bytes | None = next(keys, None)
            return key

    def write(self, puts: Iterable[tuple[bytes, bytes]], deletes: Iterable[bytes] = ()) -> None:
        """Applies all puts, then all deletes, or nothing."""
        with _damage_reported("write"), self._db.write_batch(transaction=True) as batch:
            put, delete, prefix = batch.put, batch.delete, self._prefix
            for key, value in puts:
                put(prefix + key, value)
            for key in deletes:
                delete(prefix + key)

    def scan(self, start: bytes = b"", stop: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """The pairs with ``start`` <= key < ``stop``, in key order, as they were at the first step."""
        with _damage_reported("scan"), self._iterator(start=start, stop=stop) as pairs:
            yield from pairs

    def delete_range(self, start: bytes, stop: bytes | None = None) -> None:
        """Removes what scan would give, in batches."""
        with (
            _damage_reported("delete"),
            self._iterator(start=start, stop=stop, include_value=False) as keys,
        ):
            while some := list(islice(keys, _DELETES_PER_BATCH)):
                self.write((), some)

    def namespaced(self, prefix: bytes) -> LevelKV:
        """The part of this view whose keys begin with ``prefix``."""
        return LevelKV(self._db, owner=False, rebuilt=self.rebuilt, prefix=self._prefix + prefix)

    def close(self) -> None:
        """Closes the database; a namespace leaves that to the view it came from."""
        if self._owner:
            self._db.close()

    def _iterator(self, **options: Any) -> Any:
        """plyvel's, which takes and gives keys without the prefix."""
        part = self._db.prefixed_db(self._prefix) if self._prefix else self._db
        return part.iterator(verify_checksums=True, **options)


def _open(path: str, write_buffer_bytes: int) -> Any:
    return plyvel.DB(
        path,
        create_if_missing=True,
        paranoid_checks=True,
        write_buffer_size=write_buffer_bytes,
        bloom_filter_bits=_BLOOM_FILTER_BITS,
        # Compressing each row again whenever files are merged was half of what an insert cost.
        compression=None,
    )


@contextmanager
def _damage_reported(what: str) -> Iterator[None]:
    """The border: no plyvel error leaves this file."""
    try:
        yield
    except plyvel.Error as error:
        raise ViewsDamaged(f"cannot {what}: {error}; rebuild the view from the log") from error
