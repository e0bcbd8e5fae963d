"""A Disk in memory with the manners of a real one: a page cache, power cuts, limits and errors.

What is written lies in the cache until the file's fdatasync; a name, until its directory's fsync.
``crash`` forgets what was not synced, or, given a random generator, keeps any part of it that a
real machine might. A failed fdatasync does what Linux does: it forgets that the bytes were not
written, so the next one succeeds and the bytes are in the cache only.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, TypeVar, final

from chronosdb.wal import layout
from chronosdb.wal.disk import full_disk_is_clean, replace_file
from chronosdb.wal.errors import Locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from chronosdb.testing.chance import Random

T = TypeVar("T")

# What a device writes as one: a larger write may come through in part, in any order.
SECTOR_BYTES = 512


@final
class PowerCut(OSError):
    """The machine lost power at this call. Crash the disk, then go on with new handles."""


def apply_write(data: bytearray, pos: int, piece: bytes) -> None:
    """Writes into a file image, filling a hole before ``pos`` with zeros."""
    if len(data) < pos:
        data.extend(bytes(pos - len(data)))
    data[pos : pos + len(piece)] = piece


def apply_size(data: bytearray, size: int) -> None:
    """Cuts a file image, or extends it with zeros."""
    del data[size:]
    data.extend(bytes(size - len(data)))


@final
class Inode:
    """A file's content: as readers see it, as it is on the device, and what lies between."""

    def __init__(self) -> None:
        self.cached = bytearray()
        self.durable = bytearray()
        # Invariant: durable with all of these applied equals cached, unless an fdatasync failed.
        self.pending: list[tuple[int, bytes | None]] = []

    def write(self, pos: int, piece: bytes) -> None:
        apply_write(self.cached, pos, piece)
        self.pending.append((pos, piece))

    def resize(self, size: int) -> None:
        apply_size(self.cached, size)
        self.pending.append((size, None))

    def sync(self) -> None:
        for pos, piece in self.pending:
            _apply(self.durable, pos, piece)
        self.pending.clear()

    def crash(self, rng: Random | None) -> None:
        """Keeps what is durable and, with ``rng``, a random part of what is pending.

        Sizes come through in order, up to some point: a file system journals them. Sectors come
        through in any order, and one may be torn in the middle.
        """
        if rng is not None:
            kept_sizes = rng.randint(0, len(self.pending))
            share = rng.choice((0.0, 0.5, 0.9, 1.0))
            for i, (pos, piece) in enumerate(self.pending):
                if piece is not None:
                    self._keep_sectors(rng, share, pos, piece)
                elif i < kept_sizes:
                    apply_size(self.durable, pos)
        self.pending.clear()
        self.cached = bytearray(self.durable)

    def _keep_sectors(self, rng: Random, share: float, pos: int, piece: bytes) -> None:
        at = 0
        while at < len(piece):
            end = min(at + SECTOR_BYTES - (pos + at) % SECTOR_BYTES, len(piece))
            if rng.random() < share:
                torn = rng.random() < 0.1
                kept = rng.randint(at, end) if torn else end
                apply_write(self.durable, pos + at, piece[at:kept])
            at = end


def _apply(data: bytearray, pos: int, piece: bytes | None) -> None:
    if piece is None:
        apply_size(data, pos)
    else:
        apply_write(data, pos, piece)


@final
class MemoryFile:
    """A handle; a crash makes it useless."""

    def __init__(self, disk: MemoryDisk, inode: Inode, *, writable: bool) -> None:
        self._disk = disk
        self._inode = inode
        self._writable = writable
        self._incarnation = disk.incarnation
        self._open = True

    def pread(self, n: int, pos: int) -> bytes:
        self._enter("pread", pos, n)
        return bytes(self._inode.cached[pos : pos + n])

    def pwrite(self, buffers: Sequence[bytes | memoryview], pos: int) -> None:
        data = b"".join(buffers)
        try:
            self._enter("pwrite", pos, data)
            self._disk.take_space(pos + len(data) - len(self._inode.cached))
        except OSError:
            # A write that fails may have written some of it.
            if self._usable:
                self._inode.write(pos, data[: len(data) // 2])
            raise
        self._inode.write(pos, data)

    def allocate(self, pos: int, n: int) -> None:
        with full_disk_is_clean(f"reserve {n} bytes"):
            self._enter("allocate", pos, n)
            self._disk.take_space(pos + n - len(self._inode.cached))
        if pos + n > len(self._inode.cached):
            self._inode.resize(pos + n)

    def fdatasync(self) -> None:
        try:
            self._enter("fdatasync")
        except OSError as error:
            if self._usable and not isinstance(error, PowerCut):
                self._inode.pending.clear()
            raise
        self._inode.sync()

    def truncate(self, size: int) -> None:
        self._enter("truncate", size)
        self._inode.resize(size)

    def size(self) -> int:
        self._enter("size")
        return len(self._inode.cached)

    def close(self) -> None:
        self._open = False

    @property
    def _usable(self) -> bool:
        return self._open and self._incarnation == self._disk.incarnation

    def _enter(self, call: str, *details: object) -> None:
        assert self._open, f"{call} on a closed file"
        assert self._writable or call in {"pread", "size"}, f"{call} on a read-only file"
        if self._incarnation != self._disk.incarnation:
            raise PowerCut(errno.EIO, "this handle is from before the crash")
        self._disk.enter(call, *details)


@final
class MemoryLock:
    def __init__(self, held: set[str], path: str) -> None:
        self._held = held
        self._path = path

    def release(self) -> None:
        self._held.discard(self._path)


@final
class MemoryDisk:
    """A file system in memory; ``capacity`` bytes of file content fit."""

    def __init__(self, capacity: int = 1 << 40) -> None:
        self.capacity = capacity
        self.incarnation = 0
        self.calls: list[str] = []
        """Names of the calls that could have failed, since the last crash."""
        self.overheard: Callable[[str, tuple[object, ...]], None] = lambda _call, _details: None
        """Told each of these calls and its arguments, before anything of it happens."""
        self._fail_in: int | None = None
        self._error: OSError = OSError(errno.EIO, "injected")
        self._directories = {"/", "."}
        self._names: dict[str, Inode] = {}
        self._durable_names: dict[str, Inode] = {}
        # Changes of names that no fsync of their directory has covered yet, in order, all in one
        # directory. Those of one entry become durable together.
        self._pending_names: list[dict[str, Inode | None]] = []
        self._locked: set[str] = set()

    def open(self, path: str, create: bool, *, writable: bool = True) -> MemoryFile:
        self.enter("open", path)
        if path not in self._names:
            if not create:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            self._need_directory(layout.parent(path))
            self._set_names({path: Inode()})
        return MemoryFile(self, self._names[path], writable=writable)

    def exists(self, path: str) -> bool:
        return path in self._names or path in self._directories

    def size(self, path: str) -> int:
        return len(self._inode(path).cached)

    def listdir(self, path: str) -> list[str]:
        self._need_directory(path)
        names = [*self._names, *(self._directories - {"/", "."})]
        return sorted(name.rpartition("/")[2] for name in names if layout.parent(name) == path)

    def mkdir(self, path: str) -> None:
        self.enter("mkdir", path)
        while path not in self._directories:
            self._directories.add(path)
            path = layout.parent(path)

    def rename(self, source: str, target: str) -> None:
        self.enter("rename", source, target)
        assert layout.parent(source) == layout.parent(target)
        if source in self._directories:
            self._rename_directory(source, target)
        else:
            self._set_names({target: self._inode(source), source: None})

    def unlink(self, path: str) -> None:
        self.enter("unlink", path)
        self._inode(path)
        self._set_names({path: None})

    def rmdir(self, path: str) -> None:
        self.enter("rmdir", path)
        if self.listdir(path):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
        # Durable at once, as mkdir is; the names in it that are still pending die with it.
        self._directories.remove(path)
        gone = [names for names in self._pending_names if layout.parent(next(iter(names))) == path]
        assert not gone, "removed before its names were durable"

    def _rename_directory(self, source: str, target: str) -> None:
        """Durable at once, as mkdir is."""
        assert not self.exists(target), "directories are not replaced"
        self._directories ^= {source, target}
        _move_names(self._names, source, target)
        _move_names(self._durable_names, source, target)
        for changes in self._pending_names:
            _move_names(changes, source, target)

    def fsync_dir(self, path: str) -> None:
        self.enter("fsync_dir", path)
        self._need_directory(path)
        rest = []
        for changes in self._pending_names:
            if layout.parent(next(iter(changes))) == path:
                _apply_names(self._durable_names, changes)
            else:
                rest.append(changes)
        self._pending_names = rest

    def free_bytes(self, path: str) -> int:
        self._need_directory(path)
        return max(0, self.capacity - self.used_bytes)

    def read_file(self, path: str) -> bytes:
        self.enter("read_file", path)
        return bytes(self._inode(path).cached)

    def write_file_atomic(self, path: str, data: bytes) -> None:
        replace_file(self, path, data)

    def lock(self, path: str) -> MemoryLock:
        if path in self._locked:
            raise Locked(f"{path} is in use by process unknown: stop it first")
        self._locked.add(path)
        return MemoryLock(self._locked, path)

    # What only tests may do.

    @property
    def used_bytes(self) -> int:
        return sum(len(inode.cached) for inode in self._names.values())

    def crash(self, rng: Random | None = None) -> None:
        """Cuts the power: only what was synced survives, and with ``rng`` a random part of the rest."""
        kept = rng.randint(0, len(self._pending_names)) if rng else 0
        for changes in self._pending_names[:kept]:
            _apply_names(self._durable_names, changes)
        self._pending_names.clear()
        self._names = dict(self._durable_names)
        for inode in self._names.values():
            inode.crash(rng)
        self.abandon()

    def abandon(self) -> None:
        """Ends the process that uses the disk: its handles and locks are gone, the cache is not."""
        self.incarnation += 1
        self.calls.clear()
        self._fail_in = None
        self._locked.clear()

    def fail_at(self, n: int, code: int = errno.EIO) -> None:
        """Lets the n-th call from now on (the first is 1) raise OSError with this errno, once."""
        self._arm(n, OSError(code, os.strerror(code)))

    def cut_power_at(self, n: int) -> None:
        """Lets the n-th call from now on, and all later ones until ``crash``, raise PowerCut."""
        self._arm(n, PowerCut(errno.EIO, "the power is gone"))

    @property
    def armed(self) -> bool:
        """Whether an injected error is still to come."""
        return self._fail_in is not None and self._fail_in > 0

    def is_durable(self, path: str) -> bool:
        """Whether all that was written to a file is on the device."""
        return not self._inode(path).pending

    def damage(self, path: str, pos: int, data: bytes) -> None:
        """Overwrites bytes behind everybody's back, durably."""
        inode = self._inode(path)
        assert not inode.pending
        for image in (inode.cached, inode.durable):
            assert pos + len(data) <= len(image)
            image[pos : pos + len(data)] = data

    def resize(self, path: str, size: int) -> None:
        """Sets a file's size behind everybody's back, durably."""
        inode = self._inode(path)
        inode.resize(size)
        inode.sync()

    def copy(self) -> MemoryDisk:
        """Another disk with the same durable content."""
        return self.survivor((), lambda inode: inode.durable)

    def survivor(
        self, kept_names: Iterable[int], content: Callable[[Inode], bytes | bytearray]
    ) -> MemoryDisk:
        """Another disk, with what a power cut now could leave of this one.

        Namely these of the ``pending_names`` changes, by number, and this content of each file.
        """
        names = dict(self._durable_names)
        for i in kept_names:
            _apply_names(names, self._pending_names[i])
        other = MemoryDisk(self.capacity)
        other._directories = set(self._directories)
        for name, inode in names.items():
            twin = Inode()
            twin.durable[:] = twin.cached[:] = content(inode)
            other._names[name] = other._durable_names[name] = twin
        return other

    def files(self) -> list[str]:
        """The paths of all files, sorted."""
        return sorted(self._names)

    @property
    def pending_names(self) -> int:
        """How many changes of names no fsync of their directory has covered."""
        return len(self._pending_names)

    def unsynced(self) -> list[Inode]:
        """The files, named or not any more, of which something is not durable."""
        changed = (inode for names in self._pending_names for inode in names.values() if inode)
        known = (*self._durable_names.values(), *self._names.values(), *changed)
        return [inode for inode in dict.fromkeys(known) if inode.pending]

    # What only MemoryFile calls.

    def enter(self, call: str, *details: object) -> None:
        """Counts a call and raises the injected error when it is its turn."""
        self.overheard(call, details)
        self.calls.append(call)
        if self._fail_in is None:
            return
        self._fail_in -= 1
        if self._fail_in == 0 or (self._fail_in < 0 and isinstance(self._error, PowerCut)):
            raise self._error

    def take_space(self, nbytes: int) -> None:
        """Raises "no space" if so many more bytes do not fit."""
        if nbytes > 0 and self.used_bytes + nbytes > self.capacity:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _arm(self, n: int, error: OSError) -> None:
        assert n >= 1
        self._fail_in = n
        self._error = error

    def _inode(self, path: str) -> Inode:
        if path not in self._names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return self._names[path]

    def _need_directory(self, path: str) -> None:
        if path in self._names:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        if path not in self._directories:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def _set_names(self, changes: dict[str, Inode | None]) -> None:
        _apply_names(self._names, changes)
        self._pending_names.append(changes)


def _move_names(names: dict[str, T], source: str, target: str) -> None:
    for path in [path for path in names if layout.parent(path) == source]:
        names[target + path.removeprefix(source)] = names.pop(path)


def _apply_names(names: dict[str, Inode], changes: dict[str, Inode | None]) -> None:
    for path, inode in changes.items():
        if inode is None:
            names.pop(path, None)
        else:
            names[path] = inode
