"""What is kept of a history: one table for each thing that invariants are about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from tests.proof.checker.columns import NEVER, Int64s, Table
from tests.proof.history import Line

OK: Final = 0
FAIL: Final = 1
UNKNOWN: Final = 2
OUTCOMES: Final = {"ok": OK, "fail": FAIL, "unknown": UNKNOWN}

#: Answers to a cancel or reschedule, and to a get.
DONE: Final = 0
FIRED: Final = 1
CANCELLED: Final = 2
MISSING: Final = 3
PENDING: Final = 4
ANSWERS: Final = {
    "cancelled": CANCELLED,
    "rescheduled": DONE,
    "already_fired": FIRED,
    "not_found": MISSING,
    "pending": PENDING,
    "fired": FIRED,
    None: MISSING,
}

_ASKED: Final = ("line", "row", "t_call", "t_ret", "wall_call", "wall_ret", "outcome")
#: What a publisher says of an event.
_EVENT: Final = ("id", "due", "content", "relative", "expires")
_PARTITION_BITS: Final = 20


class Names:
    """Numbers for names."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        """The number of a name; a new one gets the next."""
        if name not in self._numbers:
            self._numbers[name] = len(self.all)
            self.all.append(name)
        return self._numbers[name]


@dataclass(frozen=True, slots=True)
class Operation:
    """A call, and its return if there was one."""

    line: int
    call: Line
    #: None: it never returned.
    answer: Line | None

    @property
    def args(self) -> dict[str, Any]:
        """What was asked."""
        return self.call.args or {}

    @property
    def ret(self) -> dict[str, Any]:
        """What was answered."""
        return (self.answer.ret or {}) if self.answer else {}

    @property
    def outcome(self) -> int:
        """OK, FAIL or UNKNOWN."""
        return OUTCOMES[self.answer.outcome or "unknown"] if self.answer else UNKNOWN

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.outcome == OK

    @property
    def t_ret(self) -> int:
        """When it returned."""
        return self.answer.t_ns if self.answer else NEVER

    @property
    def wall_ret(self) -> int:
        """By the wall clock."""
        return self.answer.wall_ms if self.answer else NEVER


@dataclass(frozen=True, slots=True)
class Sight:
    """A line about something seen."""

    line: int
    t_ns: int
    wall_ms: int
    f: str
    proc: str
    seen: dict[str, Any]


@dataclass(slots=True)
class Tables:
    """Everything."""

    topics: Names = field(default_factory=Names)
    groups: Names = field(default_factory=Names)
    procs: Names = field(default_factory=Names)
    #: Last wall clock and monotonic time of the history.
    end_wall_ms: int = 0
    end_t_ns: int = 0
    #: Monotonic time and wall clock of its first line.
    begin: tuple[int, int] = (0, 0)
    lines: int = 0
    #: Partitions and settings of topics; the node's own settings.
    partitions: dict[int, int] = field(default_factory=dict)
    settings: dict[int, dict[str, int]] = field(default_factory=dict)
    defaults: dict[str, int] = field(default_factory=dict)

    # What clients did and saw.
    published: Table = field(
        default_factory=lambda: Table(
            *_ASKED,
            *_EVENT,
            *("topic", "log", "offset", "duplicate", "conflict"),
        )
    )
    changed: Table = field(
        default_factory=lambda: Table(*_ASKED, "topic", "log", "id", "move", "due", "answer")
    )
    got: Table = field(
        default_factory=lambda: Table(
            *_ASKED, "topic", "log", "id", "answer", "offset", "content", "due"
        )
    )
    delivered: Table = field(
        default_factory=lambda: Table(
            *("line", "row", "t", "wall", "log", "group", "member", "position", "offset"),
            *("attempt", "id", "due", "content", "sent_ms"),
        )
    )
    acked: Table = field(default_factory=lambda: Table(*_ASKED, "log", "group", "position"))
    replayed: Table = field(
        default_factory=lambda: Table(
            *("line", "row", "n", "log", "offset", "id", "due", "content"),
            *("published_ms", "position", "fired_ms"),
        )
    )
    #: All calls of the kinds that are few, by what was asked.
    operations: dict[str, list[Operation]] = field(default_factory=dict)
    #: Calls that never returned.
    stuck: list[Operation] = field(default_factory=list)
    sights: list[Sight] = field(default_factory=list)

    # What the logs say; `seq` is the line, which grows along each log.
    stored: Table = field(
        default_factory=lambda: Table("line", "row", "log", "offset", "ts", "letter", *_EVENT)
    )
    #: Stored again at the end of a log that was cut at its beginning; `ts` is that of the publish.
    carried: Table = field(
        default_factory=lambda: Table(
            "line", "row", "log", "offset", "ts", "letter", "due_now", "pending", *_EVENT
        )
    )
    #: Groups as they stand: their cursor, and a row for each settled run above it; the first is empty.
    stated: Table = field(
        default_factory=lambda: Table(
            "line", "row", "log", "group", "low", "start", "stop", "since", "ts"
        )
    )
    fired: Table = field(
        default_factory=lambda: Table("line", "row", "log", "position", "offset", "due", "ts")
    )
    cancelled: Table = field(default_factory=lambda: Table("line", "row", "log", "offset", "ts"))
    moved: Table = field(default_factory=lambda: Table("line", "row", "log", "offset", "due", "ts"))
    settled: Table = field(
        default_factory=lambda: Table(
            "line", "row", "log", "group", "start", "stop", "reason", "ts"
        )
    )
    begun: Table = field(
        default_factory=lambda: Table("line", "row", "log", "group", "position", "ts")
    )
    epochs: Table = field(default_factory=lambda: Table("line", "row", "log", "epoch", "ts"))
    #: The records of every copy of a log, and where each copy ends, by log and node.
    copied: Table = field(
        default_factory=lambda: Table("line", "row", "log", "node", "lsn", "epoch", "sum")
    )
    copy_ends: dict[int, dict[int, Sight]] = field(default_factory=dict)
    #: What nodes said of their copies; `life` is one process of a node.
    traced: Table = field(
        default_factory=lambda: Table("line", "row", "log", "node", "life", "epoch", "leads", "hw")
    )
    #: The rows of `stored` that a recurring schedule made; `series` is one name and generation.
    occurred: Table = field(
        default_factory=lambda: Table(
            *("line", "row", "log", "offset", "name", "series", "occurrence", "due", "content"),
        )
    )
    #: Dead letters there are: log, group and offset of the original.
    letters: set[tuple[int, str, int]] = field(default_factory=set)
    #: Begin and end of each log, by its number.
    begins: dict[int, Sight] = field(default_factory=dict)
    ends: dict[int, Sight] = field(default_factory=dict)

    def log(self, topic: str, partition: int) -> int:
        """The number of a partition's log."""
        return self.topics.number(topic) << _PARTITION_BITS | partition

    def log_name(self, log: int) -> str:
        """The inverse, for people."""
        topic, partition = log >> _PARTITION_BITS, log & ((1 << _PARTITION_BITS) - 1)
        return f"{self.topics.all[topic]}/{partition}"

    def log_topic(self, log: int) -> int:
        """The topic's number."""
        return log >> _PARTITION_BITS

    def window_ms(self, topic: int) -> int:
        """How long an id of this topic is remembered; for ever, if the history does not say."""
        return self.settings.get(topic, {}).get(
            "dedup_window_ms", self.defaults.get("dedup_window_ms", NEVER)
        )

    def asked(self, f: str) -> list[Operation]:
        """The calls of a kind."""
        return self.operations.get(f, [])

    def seen(self, f: str) -> list[Sight]:
        """The sights of a kind."""
        return [sight for sight in self.sights if sight.f == f]

    def slack_ms(self) -> int:
        """How far wall-clock times of this history may be apart.

        Of one node: as far as its clock was stepped. Of several: as two of their clocks were.
        """
        sights = self.seen("clock")
        apart = [abs(int(sight.seen["offset_ms"])) for sight in sights if "offset_ms" in sight.seen]
        steps = [abs(int(one.seen["step_ms"])) for one in sights if "offset_ms" not in one.seen]
        return sum(steps) + 2 * max(apart, default=0)


def topics_of(logs: Int64s) -> Int64s:
    """The numbers of the topics of logs."""
    return logs >> _PARTITION_BITS
