"""A partition as a deterministic state machine over its log (design §3).

`apply` is the only way state changes, in service and in recovery alike. All of it is views: each can
be thrown away and computed again from the log. A checkpoint writes them to LevelDB in one batch with
the log position they have applied; on open the tail is re-applied from there, and on any doubt the
views are rebuilt from the first record.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

import msgspec
import numpy as np

from chronosdb.node.partition import records
from chronosdb.node.partition.carried import CarriedIndex
from chronosdb.node.partition.carry import Carry
from chronosdb.node.partition.dedup import DedupIndex
from chronosdb.node.partition.due import Due
from chronosdb.node.partition.epochs import EpochHistory, Reign
from chronosdb.node.partition.forgetting import Forgetting, Place
from chronosdb.node.partition.reader import Fired, Stored, decode, first_since
from chronosdb.node.partition.records import GroupStands, Kind, RetryRow
from chronosdb.node.partition.timer_memory import TimerMemory
from chronosdb.node.partition.timers import Timers
from chronosdb.sched import CorruptStateError, Cursor, Retry
from chronosdb.wal import KeyValue, Log, Record

logger = logging.getLogger(__name__)

_META_KEY: Final = b"meta"
_GROUPS: Final = b"group:"
_IDS: Final = b"id:"
_TIMERS: Final = b"timer:"
_CARRIED: Final = b"carried:"
_SAVE_EVERY: Final = 16 * 1024 * 1024
#: Raised whenever the layout of the views changes: older ones are then rebuilt.
_VIEWS_VERSION: Final = 6


class _Meta(msgspec.Struct, frozen=True, array_like=True):
    version: int
    log_id: bytes
    applied_lsn: int
    applied_ms: int
    epoch: int
    forgotten_lsn: int
    forgotten_offset: int
    reigns: list[Reign]


_decode_meta: Final = msgspec.msgpack.Decoder(_Meta).decode
_decode_group: Final = msgspec.msgpack.Decoder(GroupStands).decode


@dataclass(slots=True)
class GroupState:
    """A group's durable progress in one partition; a group that begins again gets a new one."""

    #: Settled positions. Invariant (I7): never goes back, except by a GROUP record (reset).
    cursor: Cursor
    #: Failed deliveries to try again. Invariant: none of them is settled.
    retries: dict[int, Retry] = field(default_factory=dict)
    #: Log time at which it began, or began again: tells its successive lives apart.
    since_ms: int = 0

    def settle(self, start: int, stop: int) -> None:
        """Positions `start` … `stop` - 1 need no more deliveries."""
        self.cursor.settle(start, stop)
        if self.retries:
            for position in [p for p in self.retries if start <= p < stop]:
                del self.retries[position]

    def retry(self, row: RetryRow) -> None:
        """A delivery failed; an ack that came first wins (I8)."""
        if not self.cursor.is_settled(row.position):
            self.retries[row.position] = Retry(row.attempt, row.due_ms)

    def stands(self, name: str) -> GroupStands:
        """All of it, to be written."""
        rows = [RetryRow(p, retry.attempt, retry.due_ms) for p, retry in self.retries.items()]
        return GroupStands(records.retries(name, rows), self.cursor.to_bytes(), self.since_ms)

    @classmethod
    def of(cls, written: GroupStands) -> GroupState:
        """What `stands` wrote. Raises CorruptStateError."""
        retries = {row.position: Retry(row.attempt, row.due_ms) for row in written.retries.rows}
        return cls(Cursor.from_bytes(written.cursor), retries, written.since_ms)


class PartitionState:
    """Everything a partition knows, computed from its log up to `applied_lsn`."""

    def __init__(
        self,
        log: Log,
        log_id: bytes,
        store: KeyValue,
        now_ms: int,
        memory: TimerMemory | None = None,
    ) -> None:
        self._log = log
        self._log_id = log_id
        self._store = store
        self.timers = Timers(store.namespaced(_TIMERS), now_ms, memory or TimerMemory())
        self.dedup = DedupIndex(store.namespaced(_IDS), lambda o: o in self.timers.pending)
        self.carried = CarriedIndex(store.namespaced(_CARRIED), log)
        self._forgetting = Forgetting(log, log_id, self.dedup, self.timers, self.carried)
        self.groups: dict[str, GroupState] = {}
        #: Groups that ended since the last checkpoint began; rows of them may be in the store.
        self._ended: set[str] = set()
        self.epoch = 0
        #: Whose records they are, up to `applied_lsn`.
        self.epochs = EpochHistory()
        #: Time of the last record applied.
        self.applied_ms = 0
        #: Invariant: the views are a function of exactly the records below this.
        self.applied_lsn = 0
        #: The lsn that the last checkpoint in the store has applied.
        self.saved_lsn = 0
        #: Whether `recover` had to begin with the first record.
        self.is_rebuilt = False
        #: None until the window was set: nothing is forgotten before that.
        self._window_ms: int | None = None
        #: Positions below this may be deleted at any time: a group begins here at the earliest.
        #: Invariant: never falls, and no group has an unsettled position below it.
        self.first_position = log.segments()[0].start.position

    def apply(
        self,
        record: Record,
        value: Stored | Fired | None = None,
        ids: Mapping[bytes, int] | None = None,
    ) -> None:
        """Take in the next record.

        `value` is its decoded form, `ids` the offsets by id of what it publishes, where the caller has them.
        """
        assert self.applied_lsn <= record.lsn, (self.applied_lsn, record.lsn)
        if record.epoch > self.epoch:
            self.epoch = record.epoch
            self.epochs.note(record.epoch, record.lsn)
        if record.kind in {Kind.PUBLISH, Kind.FIRE}:
            self._apply_events(value or decode(record), ids)
        elif record.kind in {Kind.SETTLE, Kind.RETRY, Kind.GROUP, Kind.GROUPS}:
            self._apply_to_groups(record)
        else:
            self._apply_change(record)
        self.applied_lsn = record.next_lsn
        self.applied_ms = record.ts_ms

    def _apply_to_groups(self, record: Record) -> None:
        """A group that is not known began in what has been deleted: a GROUPS record will tell."""
        match record.kind:
            case Kind.SETTLE:
                body = records.read_settle(record)
                if (group := self.groups.get(body.group)) is not None:
                    for start, stop in body.pairs:
                        group.settle(start, stop)
            case Kind.RETRY:
                retries = records.read_retries(record)
                if (group := self.groups.get(retries.group)) is not None:
                    for row in retries.rows:
                        group.retry(row)
            case Kind.GROUP:
                self._apply_group(records.read_group(record), record.ts_ms)
            case Kind.GROUPS:
                self._learn_groups(records.read_groups(record))

    def _learn_groups(self, written: Iterable[GroupStands]) -> None:
        """Those that are known are as it is written: everything before was applied."""
        for one in written:
            if one.retries.group not in self.groups:
                self.groups[one.retries.group] = GroupState.of(one)

    def _apply_change(self, record: Record) -> None:
        match record.kind:
            case Kind.CANCEL:
                offsets = records.read_cancel(record)
                self._forgetting.end(offsets)
                self.timers.cancel(offsets)
            case Kind.MOVE:
                self.timers.move(records.read_due(record))
            case Kind.CARRY:
                self._apply_carry(Carry(record))
            case Kind.EPOCH:
                pass
            case _:
                raise UnknownRecord(record)

    def _apply_group(self, body: records.Group, ts_ms: int) -> None:
        if body.start == records.ENDED:
            self._ended.add(body.group)
            self.groups.pop(body.group, None)
        else:
            self.groups[body.group] = GroupState(Cursor(body.start), since_ms=ts_ms)

    def _apply_carry(self, carry: Carry) -> None:
        """Only who computes the views from a log without its oldest part learns of events here."""
        self.carried.add(carry)
        offsets = carry.offsets[carry.pending]
        known = self.timers.pending.filter(offsets)
        if known is None:
            return
        new = np.flatnonzero(carry.pending)[~known]
        ids = carry.batch.ids()
        self.dedup.add({ids[i]: int(carry.offsets[i]) for i in new.tolist()})
        published = np.frombuffer(carry.batch.due, np.int64)
        self.timers.restore(Due(carry.due_ms[new], carry.offsets[new]), published[new])

    def recover(self, committed_lsn: int | None = None, save_every: int = _SAVE_EVERY) -> int:
        """Bring the views up to the end of the log; returns how many records were applied.

        Of a log that may be overruled they go only as far as is known to be committed. They are saved
        whenever `save_every` bytes were applied: neither all ids nor all timers are ever in memory.
        """
        try:
            loaded = self._load()
        except (CorruptStateError, msgspec.MsgspecError) as error:
            logger.warning("the views of a partition are rebuilt from its log: %s", error)
            loaded = False
        self.is_rebuilt = not loaded
        if not loaded:
            self._forget()
        end_lsn = self._log.end_lsn if committed_lsn is None else committed_lsn
        count = 0
        unsaved_lsn = self.applied_lsn
        for record in self._log.scan(self.applied_lsn, max(end_lsn, self.applied_lsn)):
            self.apply(record)
            count += 1
            if self.applied_lsn - unsaved_lsn >= save_every and self._log.has_space():
                unsaved_lsn = self.applied_lsn
                self._save()
        self.timers.place()
        self.timers.fill()
        self._log.rest()
        return count

    def _save(self) -> None:
        """A checkpoint, now: nobody else is at work yet."""
        self.timers.place()
        checkpoint = self.begin_checkpoint()
        checkpoint.write()
        self.end_checkpoint(checkpoint)

    def window_at(self, log_ms: int, window_ms: int) -> Place:
        """Where a dedup window of this length begins at this log time."""
        since_ms = log_ms - window_ms
        first = first_since(self._log, since_ms)
        if first is None:
            return Place(self._log.end_lsn, self._log.next_offset)
        return Place(first.lsn, first.offset)

    def slide_window(self, log_ms: int, window_ms: int) -> None:
        """Ids from before the window may be used again now, unless they are pending.

        What is decided at `log_ms` is written with that time. But nothing need be written, and the
        clock may be set back: for good they are forgotten only by the time of the last record.
        """
        self._window_ms = window_ms
        self.dedup.floor = self.window_at(log_ms, window_ms).offset
        self._log.rest()

    def begin_checkpoint(self) -> Checkpoint:
        """A consistent picture of the views, ready to be written by another thread."""
        window = Place(0, 0)
        if self._window_ms is not None:
            # Not by the log's end, which another leader may overrule.
            window = self.window_at(self.applied_ms, self._window_ms)
        forgotten = map(_IDS.__add__, self._forgetting.begin_checkpoint(window))
        reached = self._forgetting.reached
        self.epochs.begin_at(self._log.start_lsn)
        meta = _Meta(
            _VIEWS_VERSION,
            self._log_id,
            self.applied_lsn,
            self.applied_ms,
            self.epoch,
            *reached,
            list(self.epochs.reigns),
        )
        puts = chain(
            _prefixed(_IDS, self.dedup.begin_checkpoint()),
            _prefixed(_TIMERS, self.timers.begin_checkpoint(self.applied_lsn)),
            _prefixed(_CARRIED, self.carried.begin_checkpoint()),
            list(self._saved_groups()),
            [(_META_KEY, msgspec.msgpack.encode(meta))],
        )
        stale = [
            (_TIMERS + low, _TIMERS + high)
            for low, high in (self.timers.stale_rows(), self.timers.unasked_rows(reached.offset))
        ]
        ended = [_GROUPS + name.encode() for name in self._ended - self.groups.keys()]
        self._ended.clear()
        return Checkpoint(self._store, puts, chain(forgotten, ended), stale, self.applied_lsn)

    def end_checkpoint(self, checkpoint: Checkpoint) -> None:
        """The checkpoint is in the store."""
        self.dedup.end_checkpoint()
        self.timers.end_checkpoint()
        self.carried.end_checkpoint()
        self.saved_lsn = checkpoint.applied_lsn
        self._log.rest()

    def _apply_events(self, value: Stored | Fired, ids: Mapping[bytes, int] | None) -> None:
        if isinstance(value, Fired):
            self._forgetting.end(value.due.offsets)
            self.timers.fire(value.due.offsets)
        else:
            self.dedup.add(value.ids() if ids is None else ids)
            self.timers.publish(np.frombuffer(value.batch.due, np.int64), value.start)

    def _load(self) -> bool:
        """Read the last checkpoint; False when there is none that fits this log."""
        meta = saved_meta(self._store)
        if meta is None or meta.version != _VIEWS_VERSION or meta.log_id != self._log_id:
            return False
        if not self._log.start_lsn <= meta.applied_lsn <= self._log.end_lsn:
            # The log lost what these views have seen (fsync mode `periodic` and a power cut).
            return False
        self.applied_lsn = self.saved_lsn = meta.applied_lsn
        self.epoch = meta.epoch
        self.epochs = EpochHistory(meta.reigns)
        self.applied_ms = meta.applied_ms
        self._forgetting.begin_at(Place(meta.forgotten_lsn, meta.forgotten_offset))
        self.timers.load()
        for key, raw in self._store.scan(_GROUPS, _GROUPS[:-1] + b";"):
            saved = _decode_group(raw)
            self.groups[key[len(_GROUPS) :].decode()] = GroupState.of(saved)
        return True

    def _forget(self) -> None:
        """Begin again with nothing, in memory and in the store."""
        self._store.delete_range(b"", b"\xff")
        self.timers.begin_anew()
        self.carried.clear()
        self.groups.clear()
        self._ended.clear()
        self.epochs.clear()
        # Events that the log has lost are known from CARRY records only, while they are pending.
        start = self._log.segments()[0].start
        self.epoch = self.saved_lsn = 0
        self.applied_lsn, self.applied_ms = start.lsn, start.ts_ms
        self._forgetting.begin_at(Place(start.lsn, start.offset))

    def _saved_groups(self) -> Iterator[tuple[bytes, bytes]]:
        for name, group in self.groups.items():
            yield _GROUPS + name.encode(), msgspec.msgpack.encode(group.stands(name))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The views at `applied_lsn`, and how to write them."""

    store: KeyValue
    puts: Iterable[tuple[bytes, bytes]]
    expired: Iterable[bytes]
    stale: Sequence[tuple[bytes, bytes]]
    applied_lsn: int

    def write(self) -> None:
        """One atomic batch, then the clean-up that may be lost. Blocks: call it in a thread."""
        self.store.write(self.puts, self.expired)
        for start, stop in self.stale:
            self.store.delete_range(start, stop)


class UnknownRecord(Exception):
    """The log holds a record of a kind that this version does not know."""

    def __init__(self, record: Record) -> None:
        super().__init__(
            f"record kind {record.kind} at lsn {record.lsn} was written by a newer ChronosDB;"
            " start that version on this data directory"
        )


def saved_meta(store: KeyValue) -> _Meta | None:
    """What the last checkpoint says of itself, None when there is none that can be read."""
    raw = store.get(_META_KEY)
    try:
        return None if raw is None else _decode_meta(raw)
    except msgspec.MsgspecError:
        return None


def durable_lsn(store: KeyValue, log_id: bytes) -> int:
    """Below this the log was synced before the views were written: damage there is not a torn tail."""
    meta = saved_meta(store)
    return meta.applied_lsn if meta is not None and meta.log_id == log_id else 0


def _prefixed(prefix: bytes, rows: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    return ((prefix + key, value) for key, value in rows)
