"""What a power cut may leave of a disk: every kind of state that its page cache allows.

A `MemoryDisk` knows what is durable and which writes, sizes and names are not yet. From these few
facts all states follow: any part of the unsynced writes, in any order, the last one cut anywhere, its
length without its bytes; any of the names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, TypeAlias

from chronosdb.testing.memory_disk import SECTOR_BYTES, Inode, MemoryDisk, apply_size, apply_write

#: A write: where, and what; an empty one stands for a write of which only the length came through.
#: A change of size: the size, and None.
Change: TypeAlias = tuple[int, bytes | None]

#: Random states of one moment, of each kind.
_SAMPLES: Final = 4
_FLIPS: Final = 2
#: So many unsynced changes of names are tried in each combination; of more, some.
_NAMES_WHOLE: Final = 3


@dataclass(frozen=True, slots=True)
class State:
    """One disk that a power cut may leave."""

    kind: str
    names: tuple[int, ...]
    files: Mapping[Inode, bytes] = field(repr=False)

    def disk(self, before: MemoryDisk) -> MemoryDisk:
        """The disk, ready to be opened again."""
        return before.survivor(self.names, lambda inode: self.files.get(inode, inode.durable))


def states(disk: MemoryDisk, rng: Random) -> Iterator[State]:
    """What may be left if the power failed now, each once; the first kept nothing unsynced."""
    seen = set()
    for state in _all_states(disk, rng):
        key = (state.names, tuple(state.files.values()))
        if key not in seen:
            seen.add(key)
            yield state


def flipped(disk: MemoryDisk, rng: Random) -> Iterator[tuple[MemoryDisk, str, int]]:
    """Disks in which one durable bit has flipped: the disk, the file, and which byte of it."""
    for _ in range(_FLIPS):
        everything = rng.random() < 0.5
        files = {i: _applied(i, i.pending if everything else ()) for i in disk.unsynced()}
        state = State("flipped", tuple(range(disk.pending_names)) if everything else (), files)
        survivor = state.disk(disk)
        paths = [path for path in survivor.files() if survivor.size(path)]
        if paths:
            path = rng.choice(paths)
            at = rng.randrange(survivor.size(path))
            flipped_byte = survivor.read_file(path)[at] ^ (1 << rng.randrange(8))
            survivor.damage(path, at, bytes([flipped_byte]))
            yield survivor, path, at


def _all_states(disk: MemoryDisk, rng: Random) -> Iterator[State]:
    unsynced = disk.unsynced()
    everything = {inode: _applied(inode, inode.pending) for inode in unsynced}
    nothing = {inode: bytes(inode.durable) for inode in unsynced}
    names = list(_names(disk.pending_names, rng))
    for kept in names:
        yield State("durable", kept, nothing)
        yield State("cached", kept, everything)
    for inode in unsynced:
        for kind, changes in _parts(inode.pending, rng):
            others = everything if rng.random() < 0.5 else nothing
            yield State(kind, rng.choice(names), {**others, inode: _applied(inode, changes)})


def _names(count: int, rng: Random) -> Iterator[tuple[int, ...]]:
    """Which of the unsynced changes of names may have come through."""
    if count <= _NAMES_WHOLE:
        for mask in range(1 << count):
            yield tuple(i for i in range(count) if mask >> i & 1)
        return
    for n in (0, count):
        yield tuple(range(n))
    for _ in range(_SAMPLES):
        yield tuple(range(rng.randrange(count)))
        yield tuple(i for i in range(count) if rng.random() < 0.5)


def _parts(pending: Sequence[Change], rng: Random) -> Iterator[tuple[str, list[Change]]]:
    """Which of a file's unsynced changes may have come through, besides none and all."""
    writes = [i for i, (_, piece) in enumerate(pending) if piece]
    if writes:
        last = writes[-1]
        before, (pos, piece) = list(pending[:last]), pending[last]
        assert piece is not None
        for cut in _cuts(len(piece), rng):
            yield "torn", [*before, (pos, piece[:cut])]
        yield "length", [*before, (pos + len(piece), b"")]
        yield "length", [(at, None) if p is None else (at + len(p), b"") for at, p in pending]
    for n in range(1, min(len(pending), _SAMPLES)):
        yield "prefix", list(pending[:n])
    for _ in range(_SAMPLES if pending else 0):
        yield "reordered", list(_reordered(pending, rng))


def _cuts(size: int, rng: Random) -> list[int]:
    """Where a write may end early: around the fields of a header, at each sector, anywhere."""
    places = {0, 1, 7, 8, 9, size - 1, rng.randrange(size), rng.randrange(size)}
    places.update(range(SECTOR_BYTES, size, SECTOR_BYTES))
    return sorted(n for n in places if n < size)


def _reordered(pending: Sequence[Change], rng: Random) -> Iterator[Change]:
    """Sizes come through in order, up to some point: a file system journals them. Sectors, anyhow."""
    sizes = rng.randint(0, len(pending))
    share = rng.random()
    for i, (pos, piece) in enumerate(pending):
        if piece is None:
            if i < sizes:
                yield pos, None
            continue
        at = 0
        while at < len(piece):
            end = min(at + SECTOR_BYTES - (pos + at) % SECTOR_BYTES, len(piece))
            if rng.random() < share:
                kept = rng.randint(at, end) if rng.random() < 0.2 else end
                yield pos + at, piece[at:kept]
            at = end


def _applied(inode: Inode, changes: Sequence[Change]) -> bytes:
    image = bytearray(inode.durable)
    for pos, piece in changes:
        if piece is None:
            apply_size(image, pos)
        else:
            apply_write(image, pos, piece)
    return bytes(image)
