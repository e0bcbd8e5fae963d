"""One recurring schedule: what its owner stated, as a rule, and the events that are made of it.

An event's id is "name/generation/occurrence": the log's dedup makes each occurrence one event, and what
was made for an earlier generation is never taken for this one's.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import Final, cast

import msgspec

from chronosdb.raft import ScheduleInfo
from chronosdb.sched import CatchUp, Recurrence, RecurrenceError, Wanted, wanted
from chronosdb.sched.local_time import Fold, Gap
from chronosdb.wire import Row, partition_for
from chronosdb.wire import messages as m
from chronosdb.wire.errors import InvalidArgument

#: Events are made so long before their occurrence: long enough that an fsync is never what makes one
#: late, short enough that nearly all of the future is still open to a change, a pause, or another rule.
LEAD_MS: Final = 5_000
#: One round takes at most so many occurrences of a schedule, and about so many bytes.
_ROUND_OCCURRENCES: Final = 1_000
_ROUND_BYTES: Final = 256 * 1024
_CATCH_UP_MAX_MS: Final = 100 * 366 * 86_400_000
_ROW_BYTES: Final = 256

_decode = msgspec.msgpack.Decoder(m.ScheduleSpec).decode
encode_spec = msgspec.msgpack.Encoder().encode


@dataclass(slots=True)
class Plan:
    """A schedule of the metadata, ready to be carried out."""

    info: ScheduleInfo
    spec: m.ScheduleSpec
    rule: Recurrence
    catch_up: CatchUp
    #: The next occurrence to look at, None if there is none. Invariant: all before it are done, or
    #: were missed and are not wanted.
    next_ms: int | None

    @classmethod
    def of(cls, info: ScheduleInfo) -> Plan:
        """Raises InvalidArgument when this version cannot carry it out."""
        spec = spec_of(info)
        rule = rule_of(spec.timetable, info.put_ms)
        first = next(rule.after(info.done_ms), None)
        return cls(info, spec, rule, catch_up_of(spec), first)

    @property
    def mark(self) -> str:
        """Its name in a command that notes progress; also how its events' ids begin."""
        return f"{self.info.name}/{self.info.generation}"

    @property
    def limit(self) -> int:
        """How many occurrences one round may take."""
        row = _ROW_BYTES + len(self.spec.payload) + len(self.spec.meta)
        return max(1, min(_ROUND_OCCURRENCES, _ROUND_BYTES // row))

    def wanted(self, now_ms: int) -> Wanted:
        """The occurrences to make events of now, at most `limit`."""
        return wanted(
            self.rule,
            self.catch_up,
            done_ms=self.info.done_ms,
            now_ms=now_ms,
            until_ms=now_ms + LEAD_MS,
            limit=self.limit,
        )

    def row(self, occurrence: int) -> Row:
        """The event of an occurrence."""
        return Row(
            message_id=self.message_id(occurrence),
            due_ms=self.rule.due_ms(self.info.name, occurrence),
            key=self.spec.key or b"",
            meta=self.spec.meta,
            payload=self.spec.payload,
        )

    def message_id(self, occurrence: int) -> bytes:
        """The id of that event."""
        return f"{self.mark}/{occurrence}".encode()

    def place(self, message_id: bytes, partitions: int) -> int:
        """The partition of the event with this id."""
        return partition_for(self.spec.key, message_id, partitions)

    def perhaps_pending(self, now_ms: int) -> list[int]:
        """The occurrences whose events may be in the log and not have fired.

        Each was at most LEAD_MS ahead of the clock when its event was made, also of a clock that has
        been set back since: all that is due before the last LEAD_MS of what is done has fired.
        """
        open_ms = max(now_ms, self.info.done_ms - LEAD_MS) - self.rule.jitter_ms - 1
        until_ms = max(self.info.done_ms, now_ms + LEAD_MS)
        return list(takewhile(lambda o: o <= until_ms, self.rule.after(open_ms)))


def spec_of(info: ScheduleInfo) -> m.ScheduleSpec:
    """What its owner stated; raises InvalidArgument when this version cannot read it."""
    try:
        return _decode(info.definition)
    except msgspec.MsgspecError as error:
        raise InvalidArgument(f"schedule {info.name!r} cannot be read: {error}") from None


def rule_of(timetable: m.Timetable, put_ms: int) -> Recurrence:
    """The rule that a timetable states when it is put at `put_ms`.

    An interval without a start begins one interval after it was put.

    Raises:
        InvalidArgument: it states none; the message says why.
    """
    start_ms = timetable.start_ms
    if start_ms is None:
        start_ms = put_ms + (timetable.every_ms or 0)
    try:
        return Recurrence(
            start_ms=start_ms,
            cron=timetable.cron,
            every_ms=timetable.every_ms,
            tz=timetable.tz,
            # The rule checks these words itself.
            gap=cast("Gap", timetable.gap),
            fold=cast("Fold", timetable.fold),
            end_ms=timetable.end_ms,
            jitter_ms=timetable.jitter_ms,
        )
    except RecurrenceError as error:
        raise InvalidArgument(str(error)) from None


def catch_up_of(spec: m.ScheduleSpec) -> CatchUp:
    """What is to be made up; raises InvalidArgument."""
    match spec.catch_up:
        case "all" | "latest" | "none":
            return spec.catch_up
        case int() if spec.catch_up <= _CATCH_UP_MAX_MS:
            return spec.catch_up
        case other:
            raise InvalidArgument(
                f"catch_up is {other!r}: it must be 'all', 'latest', 'none', or a time of at most"
                f" {_CATCH_UP_MAX_MS} ms"
            )
