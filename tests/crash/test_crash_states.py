"""A share of the campaign; and it finds what it is there to find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from chronosdb.node.partition.state import PartitionState
from chronosdb.node.partition.timers import Timers
from chronosdb.testing.memory_disk import MemoryDisk
from chronosdb.wal import Record, inventory, log, recovery
from chronosdb.wal.copying import next_piece
from chronosdb.wal.recovery import Behind, Verdict
from chronosdb.wal.segment_writer import SegmentWriter
from tests.crash.campaign import run_script
from tests.crash.watch import Tally, Violation

Plant = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(scope="module")
def tallies() -> dict[int, Tally]:
    """Two scripts of a log, and one of a partition."""
    return {number: run_script(number) for number in (1, 2, 4)}


@pytest.mark.slow
def test_no_crash_state_breaks_a_promise(tallies: dict[int, Tally]) -> None:
    """Of the first scripts; `python -m tests.crash` runs more."""
    total = Tally()
    for tally in tallies.values():
        total.add(tally)
    assert not total.violations, total.violations[:3]
    assert total.states > 2000
    assert len(total.kinds) == 7


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 4])
def test_a_script_checks_the_same_states_whenever_it_runs(
    tallies: dict[int, Tally], number: int
) -> None:
    """Its number is all it takes to see a violation again."""
    assert run_script(number) == tallies[number]


def nothing(*_: Any, **__: Any) -> None:
    """In the place of what a bug leaves out."""


def sealed_without_sync(patch: pytest.MonkeyPatch) -> None:
    """A segment is followed by the next before it is durable."""

    def hasty(writer: SegmentWriter) -> None:
        writer._file.truncate(writer._end)

    patch.setattr(SegmentWriter, "trim", hasty)


def acked_without_sync(patch: pytest.MonkeyPatch) -> None:
    """`Log.sync` returns before anything is durable."""
    patch.setattr(SegmentWriter, "sync", nothing)


def names_never_synced(patch: pytest.MonkeyPatch) -> None:
    """A new segment may vanish with all that is in it."""
    patch.setattr(MemoryDisk, "fsync_dir", nothing)


def dropped_without_mark(patch: pytest.MonkeyPatch) -> None:
    """The oldest segments go, and nothing says that they were to go."""

    def removed(disk: MemoryDisk, directory: str, start_lsn: int) -> None:
        for name in disk.listdir(directory):
            if int(name[:20]) < start_lsn:
                disk.unlink(f"{directory}/{name}")

    patch.setattr(log, "mark_start", removed)


def mark_not_synced(patch: pytest.MonkeyPatch) -> None:
    """The files below the mark go before it is durable."""

    def hasty(disk: MemoryDisk, directory: str, files: inventory.Inventory) -> None:
        for name in files.dropped:
            disk.unlink(f"{directory}/{name}")

    patch.setattr(log, "remove_dropped", hasty)


def damage_taken_for_torn(patch: pytest.MonkeyPatch) -> None:
    """A bad record in the middle is cut off with all that follows."""
    patch.setitem(recovery.VERDICTS, (False, Behind.WITNESS), Verdict.TORN)


def timers_not_loaded(patch: pytest.MonkeyPatch) -> None:
    """A restart begins without the timers of the last checkpoint."""
    patch.setattr(Timers, "load", nothing)


def checkpoint_ahead_of_its_views(patch: pytest.MonkeyPatch) -> None:
    """A checkpoint claims to have applied a record that it has not."""
    begin = PartitionState.begin_checkpoint

    def ahead(state: PartitionState) -> Any:
        before, state.applied_lsn = state.applied_lsn, state._log.end_lsn
        state.dedup._fresh.pop(next(iter(state.dedup._fresh), b""), None)
        try:
            return begin(state)
        finally:
            state.applied_lsn = before

    patch.setattr(PartitionState, "begin_checkpoint", ahead)


def copied_in_one_write(patch: pytest.MonkeyPatch) -> None:
    """A record is copied before that is durable which it says was durable before it."""

    def whole(records: Sequence[Record], first: int, room: int, _: int) -> int:
        return next_piece(records, first, room, records[-1].lsn)

    patch.setattr(log, "next_piece", whole)


def cut_without_mark(patch: pytest.MonkeyPatch) -> None:
    """A log is cut file by file, and nothing says that the others are to follow."""

    def hasty(disk: MemoryDisk, directory: str, files: inventory.Inventory) -> None:
        for name in files.cut_marks:
            disk.unlink(f"{directory}/{name}")
        for name in files.above:
            disk.unlink(f"{directory}/{name}")

    patch.setattr(log, "remove_above", hasty)
    patch.setattr(log, "forget_cut", nothing)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "number", "says"),
    [
        (sealed_without_sync, 1, "I1"),
        (acked_without_sync, 1, "I1"),
        (acked_without_sync, 4, "I1"),
        (names_never_synced, 1, "I1"),
        (dropped_without_mark, 1, "the log begins at"),
        (mark_not_synced, 1, "first segment is missing"),
        (damage_taken_for_torn, 1, "I14"),
        (copied_in_one_write, 1, "LogDamaged"),
        (cut_without_mark, 1, "LogDamaged"),
        (timers_not_loaded, 4, "I13"),
        (checkpoint_ahead_of_its_views, 4, "I5"),
    ],
)
def test_a_planted_bug_is_found(
    monkeypatch: pytest.MonkeyPatch, plant: Plant, number: int, says: str
) -> None:
    """By the first few scripts, and named as what it breaks."""
    plant(monkeypatch)
    assert any(says in violation.why for violation in found_from(number))


def found_from(number: int) -> Iterator[Violation]:
    """What the scripts of one kind find, from this number on."""
    for n in range(number, number + 13, 4):
        yield from run_script(n).violations
