"""What the logs themselves say, read record by record: the last word on what was stored and fired."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from chronosdb.node.log_commands import find_logs
from chronosdb.node.partition import records
from chronosdb.node.partition.records import Kind
from chronosdb.sched import Cursor
from chronosdb.wal import DamagedRecord, Disk, Log, LogOptions, Record, VerifyReport, verify


@dataclass(frozen=True, slots=True)
class Stored:
    """One event of a log."""

    message_id: str
    offset: int
    due_ms: int
    payload: bytes


@dataclass(slots=True)
class History:
    """Everything that a partition's log tells about its events, and what in it breaks a promise."""

    report: VerifyReport
    #: In offset order.
    stored: list[Stored] = field(default_factory=list)
    #: Offset → due time of what is neither fired nor cancelled (I13).
    pending: dict[int, int] = field(default_factory=dict)
    fired: int = 0
    #: How far each group has settled.
    cursors: dict[str, Cursor] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    #: Message id → offset.
    _ids: dict[str, int] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Take in the next record."""
        match record.kind:
            case Kind.PUBLISH:
                for event in _events(record):
                    self._publish(event)
            case Kind.FIRE | Kind.MOVE | Kind.CANCEL:
                self._add_timers(record)
            case Kind.GROUP:
                group = records.read_group(record)
                self.cursors[group.group] = Cursor(group.start)
            case Kind.SETTLE:
                settled = records.read_settle(record)
                for start, stop in settled.pairs:
                    self.cursors[settled.group].settle(start, stop)

    def unsettled(self, group: str) -> int:
        """How many fired events the group has not settled."""
        return self.cursors.get(group, Cursor()).lag(self.fired)

    def _add_timers(self, record: Record) -> None:
        if record.kind == Kind.CANCEL:
            for offset in records.read_cancel(record).tolist():
                self._take(offset, "cancelled")
            return
        due = records.read_due(record)
        for offset, due_ms in zip(due.offsets.tolist(), due.due_ms.tolist(), strict=True):
            if record.kind == Kind.FIRE:
                self._fire(offset, due_ms, record.ts_ms)
            else:
                self._take(offset, "moved")
                self.pending[offset] = due_ms

    def _publish(self, event: Stored) -> None:
        if event.offset != len(self.stored):
            self.violations.append(f"offset {event.offset} follows {len(self.stored) - 1} (I6)")
        first = self._ids.setdefault(event.message_id, event.offset)
        if first != event.offset:
            self.violations.append(
                f"id {event.message_id!r} is stored at offsets {first} and {event.offset} (I5)"
            )
        self.stored.append(event)
        self.pending[event.offset] = event.due_ms

    def _fire(self, offset: int, due_ms: int, fired_ms: int) -> None:
        self.fired += 1
        expected_ms = self._take(offset, "fired")
        if expected_ms not in {None, due_ms}:
            self.violations.append(f"offset {offset} is due at {expected_ms}, not {due_ms} (I13)")
        if fired_ms < due_ms:
            self.violations.append(f"offset {offset} is fired {due_ms - fired_ms} ms early (I3)")

    def _take(self, offset: int, what: str) -> int | None:
        """No longer pending; its due time, if it was."""
        due_ms = self.pending.pop(offset, None)
        if due_ms is None:
            self.violations.append(f"offset {offset} is {what}, and was not pending (I13)")
        return due_ms


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
        fired=sum(history.fired for history in histories),
        unsettled=sum(history.unsettled(group) for history in histories),
        violations=[
            problem
            for history in histories
            for problem in (*map(str, history.report.problems), *history.violations)
        ],
    )


def read_histories(disk: Disk, directory: str) -> list[History]:
    """The history of every log at or below `directory`. No node may be running there."""
    return [_read(disk, path) for path in find_logs(disk, directory)]


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
