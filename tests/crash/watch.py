"""Looking at a disk whenever it has changed: every state that a power cut might leave is checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Final, final

from chronosdb.testing.memory_disk import MemoryDisk
from tests.crash.images import flipped, states

#: Calls after which another state may be left than before; opening a file only if it makes it.
_CHANGES: Final = frozenset(
    {
        *("mkdir", "rename", "unlink", "rmdir", "fsync_dir"),
        *("pwrite", "allocate", "truncate", "fdatasync"),
    }
)

#: Raises if what is on the disk is not what may be there.
Check = Callable[[MemoryDisk], None]
#: The same for a disk of which one byte of a file is wrong.
CheckFlipped = Callable[[MemoryDisk, str, int], None]


@dataclass(frozen=True, slots=True)
class Violation:
    """A state that was not recovered as promised."""

    number: int
    """Which of the states of its script, counted from 1."""
    kind: str
    why: str


@dataclass(slots=True)
class Tally:
    """What was looked at, and what was found."""

    kinds: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)

    @property
    def states(self) -> int:
        """How many states were checked."""
        return self.kinds.total()

    def run(self, kind: str, check: Callable[[], None]) -> None:
        """Count one state, and note what its check raises."""
        self.kinds[kind] += 1
        try:
            check()
        except Exception as error:  # noqa: BLE001 - every way to fail is a finding
            why = f"{type(error).__name__}: {error}"
            self.violations.append(Violation(self.states, kind, why))

    def add(self, other: Tally) -> None:
        """Take in what another script found."""
        self.kinds += other.kinds
        self.violations += other.violations


@final
class Watch:
    """Overhears a disk for as long as its block runs."""

    def __init__(
        self, disk: MemoryDisk, rng: Random, tally: Tally, check: Check, flip: CheckFlipped | None
    ) -> None:
        self._disk = disk
        self._rng = rng
        self._tally = tally
        self._check = check
        self._flip = flip
        self._changed = False
        self._names = 0

    def __enter__(self) -> None:
        self._disk.overheard = self._overhear

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._disk.overheard = lambda _call, _details: None
        if kind is None:
            self._look()

    def _look(self) -> None:
        """Check every state that a power cut now might leave."""
        self._names = self._disk.pending_names
        for state in states(self._disk, self._rng):
            self._tally.run(state.kind, partial(self._check, state.disk(self._disk)))
        if self._flip is not None:
            for survivor, path, at in flipped(self._disk, self._rng):
                self._tally.run("flipped", partial(self._flip, survivor, path, at))

    def _overhear(self, call: str, _details: tuple[object, ...]) -> None:
        if self._changed or self._disk.pending_names != self._names:
            self._changed = False
            self._look()
        self._changed = call in _CHANGES
