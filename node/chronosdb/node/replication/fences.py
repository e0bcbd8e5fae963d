"""What this node has promised about its copies, and must not forget: one small file, replaced whole.

*Epochs*: below which epoch it takes nothing any more, partition by partition. A promise is on disk before
anyone is told of it; what a quorum was promised cannot be overtaken, for an old leader finds nobody to
commit with. *Parts*: which copies lack something that was committed, and must not be asked who leads. *Held*:
which copies there are, so that one that was lost is not taken for one that never was.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec

from chronosdb.node.setup_file import read_setup
from chronosdb.wal import Disk

_FORMAT: Final = 1


class _File(msgspec.Struct, frozen=True):
    format: int
    #: By directory name of the partition.
    epochs: Mapping[str, int]
    parts: frozenset[str]
    #: Missing in older files: each copy is noted when it is opened.
    held: frozenset[str] = frozenset()


_DECODER: Final = msgspec.json.Decoder(_File)


class Fences:
    """One node's promises. What changes them blocks, one call at a time."""

    def __init__(self, disk: Disk, path: str) -> None:
        """Read what was promised.

        Raises:
            ConfigError: the file cannot be read.
        """
        self._disk = disk
        self._path = path
        #: Invariant: it is on disk.
        self._file = _read(disk, path)

    def epoch(self, name: str) -> int:
        """What the partition was last promised to; 0: nothing."""
        return self._file.epochs.get(name, 0)

    def is_part(self, name: str) -> bool:
        """Whether the copy lacks something that it once had, or should have."""
        return name in self._file.parts

    def was_held(self, name: str) -> bool:
        """Whether there was a copy once, which may have acknowledged something."""
        return name in self._file.held

    def hold(self, names: Collection[str]) -> None:
        """Note that there are these copies from now on. Durable on return; raises DiskFull."""
        if not self._file.held.issuperset(names):
            self._write(held=self._file.held.union(names))

    def promise(self, wants: Mapping[str, int]) -> None:
        """Refuse everything below these epochs, for ever. Durable on return.

        Raises:
            DiskFull: nothing was promised.
        """
        raised = {name: epoch for name, epoch in wants.items() if epoch > self.epoch(name)}
        if raised:
            self._write(epochs={**self._file.epochs, **raised})

    def mark_part(self, name: str, is_part: bool) -> None:
        """Note that a copy lacks something, or no more. Durable on return; raises DiskFull."""
        if is_part != self.is_part(name):
            self._write(parts=self._file.parts ^ {name})

    def forget(self, name: str) -> None:
        """The partition is not held here any more. Raises DiskFull: it is not forgotten."""
        if name in self._file.epochs or self.is_part(name) or self.was_held(name):
            epochs = {other: e for other, e in self._file.epochs.items() if other != name}
            own = {name}
            self._write(epochs=epochs, parts=self._file.parts - own, held=self._file.held - own)

    def _write(self, **changed: Any) -> None:
        file = msgspec.structs.replace(self._file, **changed)
        self._disk.write_file_atomic(self._path, msgspec.json.encode(file, order="deterministic"))
        self._file = file


def _read(disk: Disk, path: str) -> _File:
    return read_setup(disk, path, _DECODER, _FORMAT) or _File(_FORMAT, {}, frozenset())
