"""The durable Raft log: entries in memory, mirrored by one append-only file.

Changes gather in memory; `sync` makes them durable in one operation, and is called before anything
is committed or sent. Appends become one write and one fdatasync. Compaction, and the reset after
a snapshot was installed, become one atomic replacement of the file. Truncation becomes nothing at
all until an entry takes the place of a truncated one (see `record.py`): PySyncObj also truncates
entries that are committed and re-adds them at once, and a crash between the two must lose nothing.
"""

from __future__ import annotations

from typing import Self

from chronosdb.raft.errors import MetadataFailedError, StorageDamagedError
from chronosdb.raft.record import Entry, encode_group, journal_image, scan
from chronosdb.raft.storage import File, Storage


class Journal:
    """The Raft log. After a failed write or sync it refuses everything (I15)."""

    def __init__(
        self, storage: Storage, path: str, file: File, entries: list[Entry], end: int
    ) -> None:
        self._storage = storage
        self._path = path
        self._file = file
        #: Invariant: indices are dense; terms never decrease.
        self.entries = entries
        #: Entries truncated since, still in the file. Invariant: they follow `entries` densely.
        self._shadow: list[Entry] = []
        #: Entries to be appended by the next `sync`, in order.
        self._pending: list[Entry] = []
        #: The next `sync` replaces the file; `_pending` is then irrelevant.
        self._replace_file = False
        #: Where the file ends. Invariant: everything below is durable.
        self._end = end
        #: Everything up to this index is known to be committed, from a snapshot.
        self.committed_floor = 1
        self._failed: BaseException | None = None

    @classmethod
    def create(cls, storage: Storage, path: str) -> Self:
        """An empty journal, durable."""
        storage.write_file_atomic(path, journal_image([]))
        return cls.open(storage, path)

    @classmethod
    def open(cls, storage: Storage, path: str) -> Self:
        """Read it back and cut a torn tail; raises StorageDamagedError for any other damage."""
        file = storage.open(path, create=False)
        try:
            data = file.pread(file.size(), 0)
            found = scan(data, path)
            if found.end < len(data):
                file.truncate(found.end)
            # What survived in the page cache only is durable before anyone acts on it. Written again:
            # after a sync that failed the cache holds for clean what never reached the disk.
            if found.durable < found.end:
                file.pwrite([data[found.durable : found.end]], found.durable)
            file.fdatasync()
        except BaseException:
            file.close()
            raise
        return cls(storage, path, file, found.entries, found.end)

    @property
    def first_index(self) -> int:
        """Where the log begins now. It must not be empty."""
        return self.entries[0].idx

    @property
    def last_index(self) -> int:
        """Where it ends; 0 if it is empty."""
        return self.entries[-1].idx if self.entries else 0

    def term_at(self, index: int) -> int | None:
        """The term of the entry at `index`, or None if the journal does not hold it."""
        if self.entries and self.first_index <= index <= self.last_index:
            return self.entries[index - self.first_index].term
        return None

    def append(self, entry: Entry) -> None:
        """Add the next entry. An entry just truncated and now added again costs nothing."""
        self._raise_if_failed()
        if self.entries:
            assert entry.idx == self.last_index + 1, (entry.idx, self.last_index)
            assert entry.term >= self.entries[-1].term, (entry.term, self.entries[-1].term)
        self.entries.append(entry)
        if self._shadow and self._shadow[0] == entry:
            del self._shadow[0]
        else:
            self._shadow = []
            self._pending.append(entry)

    def truncate_from(self, position: int) -> None:
        """Drop the entries from `position` in `entries` on."""
        assert position >= 0, position
        self._shadow = self.entries[position:] + self._shadow
        del self.entries[position:]

    def drop_before(self, position: int) -> None:
        """Compact: drop the entries before `position`; a durable snapshot covers them."""
        assert 0 <= position < len(self.entries), position
        if position:
            self.entries = self.entries[position:]
            self._replace_file = True

    def clear(self) -> None:
        """Drop everything; the entries of an installed snapshot follow before the next `sync`."""
        self.entries = []
        self._shadow = []
        self._replace_file = True

    def align(self, older: Entry, newest: Entry) -> None:
        """Begin with the two entries that a durable snapshot ends with, and be durable.

        A crash between snapshot and compaction leaves a journal that begins earlier. PySyncObj
        would replace it by the two entries, and lose what was committed behind them.
        Raises StorageDamagedError if entries between snapshot and journal are missing.
        """
        assert newest.idx == older.idx + 1, (older.idx, newest.idx)
        if self.entries and self.first_index > older.idx:
            raise StorageDamagedError(
                f"{self._path}: begins at {self.first_index}, after its snapshot at {older.idx}"
            )
        start = older.idx - self.first_index if self.entries else 0
        if self.entries[start : start + 2] == [older, newest]:
            self.drop_before(start)
        else:
            self.clear()
            self.append(older)
            self.append(newest)
        self.committed_floor = newest.idx
        self.sync()

    def sync(self) -> None:
        """Make all changes durable. Whatever the storage raises is final, and never retried."""
        self._raise_if_failed()
        try:
            if self._replace_file:
                self._write_anew()
            elif self._pending:
                self._append_pending()
        except BaseException as error:
            self._failed = error
            raise

    def _append_pending(self) -> None:
        records, end = encode_group(self._pending, self._end)
        self._file.pwrite(records, self._end)
        self._file.fdatasync()
        self._end = end
        self._pending = []

    def _write_anew(self) -> None:
        # With the shadow: it may yet be re-added, and must then still be there.
        image = journal_image(self.entries + self._shadow)
        self._storage.write_file_atomic(self._path, image)
        self._file.close()
        self._file = self._storage.open(self._path, create=False)
        self._end = len(image)
        self._pending = []
        self._replace_file = False

    def close(self) -> None:
        """Close without writing anything more: what was to last was synced."""
        self._file.close()

    def _raise_if_failed(self) -> None:
        if self._failed is not None:
            raise MetadataFailedError(f"{self._path} failed before") from self._failed
