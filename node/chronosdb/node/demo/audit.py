"""What the logs themselves say, read record by record: the last word on what was stored and fired."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from chronosdb.node import records
from chronosdb.node.log_commands import find_logs
from chronosdb.node.records import Kind
from chronosdb.sched import Cursor
from chronosdb.wal import DamagedRecord, Disk, Log, LogOptions, Record, VerifyReport, verify


@dataclass(frozen=True, slots=True)
class Stored:
    """One event of a log."""

    message_id: str
    offset: int
    due_ms: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Fired:
    """The log says at `fired_ms` that the event at `offset` is due."""

    offset: int
    fired_ms: int


@dataclass(slots=True)
class History:
    """Everything that a partition's log tells about its events."""

    report: VerifyReport
    #: In offset order.
    stored: list[Stored] = field(default_factory=list)
    #: In position order.
    fired: list[Fired] = field(default_factory=list)
    #: How far each group has settled.
    cursors: dict[str, Cursor] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Take in the next record."""
        match record.kind:
            case Kind.PUBLISH:
                self.stored += _events(record)
            case Kind.FIRE:
                offsets = records.read_due(record).offsets.tolist()
                self.fired += [Fired(offset, record.ts_ms) for offset in offsets]
            case Kind.GROUP:
                group = records.read_group(record)
                self.cursors[group.group] = Cursor(group.start)
            case Kind.SETTLE:
                settled = records.read_settle(record)
                for start, stop in settled.pairs:
                    self.cursors[settled.group].settle(start, stop)

    def unsettled(self, group: str) -> int:
        """How many fired events the group has not settled."""
        return self.cursors.get(group, Cursor()).lag(len(self.fired))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What all logs of a topic say together."""

    logs: int
    #: By message id; the last one, should there be several.
    stored: dict[str, Stored]
    #: Events in the logs, and firings.
    events: int
    fired: int
    #: Fired events that the group has not settled.
    unsettled: int
    #: What contradicts the promises, and what `verify` found damaged.
    violations: list[str]


def gather(histories: Sequence[History], group: str) -> Evidence:
    """The logs as evidence about one group."""
    return Evidence(
        logs=len(histories),
        stored={event.message_id: event for history in histories for event in history.stored},
        events=sum(len(history.stored) for history in histories),
        fired=sum(len(history.fired) for history in histories),
        unsettled=sum(history.unsettled(group) for history in histories),
        violations=[problem for history in histories for problem in violations(history)],
    )


def read_histories(disk: Disk, directory: str) -> list[History]:
    """The history of every log at or below `directory`. No node may be running there."""
    return [_read(disk, path) for path in find_logs(disk, directory)]


def violations(history: History) -> Iterator[str]:
    """What in a log contradicts the promises, whoever published whatever."""
    yield from map(str, history.report.problems)
    ids: dict[str, int] = {}
    for expected, event in enumerate(history.stored):
        if event.offset != expected:
            yield f"offset {event.offset} follows {expected - 1} (I6)"
        if (first := ids.setdefault(event.message_id, event.offset)) != event.offset:
            yield f"id {event.message_id!r} is stored at offsets {first} and {event.offset} (I5)"
    yield from _firing_violations(history)


def _firing_violations(history: History) -> Iterator[str]:
    positions: dict[int, int] = {}
    for position, fired in enumerate(history.fired):
        if (first := positions.setdefault(fired.offset, position)) != position:
            yield f"offset {fired.offset} is fired at positions {first} and {position} (I6)"
        if fired.offset >= len(history.stored):
            yield f"position {position} fires offset {fired.offset}, which nobody published (I2)"
            continue
        due_ms = history.stored[fired.offset].due_ms
        if fired.fired_ms < due_ms:
            yield f"offset {fired.offset} is fired {due_ms - fired.fired_ms} ms early (I3)"


def _read(disk: Disk, directory: str) -> History:
    history = History(verify(disk, directory))
    log = Log.open(disk, directory, LogOptions(), log_id=None, writable=False)
    try:
        for record in log.scan():
            history.add(record)
    except DamagedRecord:
        # The report has it already; what lies behind cannot be trusted to be all there was.
        assert not history.report.ok
    finally:
        log.close()
    return history


def _events(record: Record) -> Iterator[Stored]:
    batch = records.read_batch(record)
    for i, offset in zip(range(batch.count), count(record.offset), strict=False):
        message_id = batch.message_id(i).decode(errors="replace")
        yield Stored(message_id, offset, batch.due[i], batch.payload(i))
