"""Everything an invariant needs to be judged: the tables, and the logs they are compared with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.proof.checker.brackets import Bracket
from tests.proof.checker.columns import NEVER, Int64s, Rows
from tests.proof.checker.curve import Curve
from tests.proof.checker.logs import PartitionLog
from tests.proof.checker.tables import Tables, topics_of


@dataclass(frozen=True, slots=True)
class Named:
    """The records of a log that an id stood for, while the log was somewhere between two lines."""

    log: PartitionLog
    least: int
    most: int
    #: Indices into the log's events, oldest first. After the dedup window an id stands for a new one.
    records: list[int]


@dataclass(frozen=True, slots=True)
class Case:
    """See above."""

    tables: Tables
    logs: dict[int, PartitionLog]
    brackets: dict[int, Bracket]
    _curves: dict[int, Curve] = field(default_factory=dict)

    def by_log(self, rows: Rows) -> Iterator[tuple[PartitionLog, Rows]]:
        """Rows with the log that they are about, where that was dumped."""
        for number, some in rows.by("log").items():
            if number in self.logs:
                yield self.logs[number], some

    def logs_of(self, topic: str) -> list[PartitionLog]:
        """The logs of a topic."""
        number = self.tables.topics.number(topic)
        return [log for log in self.logs.values() if self.tables.log_topic(log.number) == number]

    def partition(self, log: PartitionLog) -> int:
        """The partition that it is of."""
        return int(log.name.rpartition("/")[2])

    def curve(self, log: PartitionLog) -> Curve:
        """How many events of this log were pending, over its life."""
        if log.number not in self._curves:
            self._curves[log.number] = Curve(log)
        return self._curves[log.number]

    def first_step_back_ms(self) -> int:
        """The earliest time that the clock showed twice; NEVER if it was not stepped back."""
        back = [one for one in self.tables.seen("clock") if one.seen["step_ms"] < 0]
        return min((one.wall_ms for one in back), default=NEVER)

    def topics(self, rows: Rows) -> Int64s:
        """The topic of each row's log."""
        return topics_of(rows["log"])

    def is_dead_letters(self, number: int) -> bool:
        """Whether the node itself publishes to this log."""
        return self.tables.topics.all[self.tables.log_topic(number)].endswith(".dlq")

    def named(self, rows: Rows, i: int) -> list[Named]:
        """What the id of a request meant while it was answered, in each log of its topic."""
        times = (int(rows[name][i]) for name in ("t_call", "t_ret", "wall_ret"))
        t_call, t_ret, wall_ret = times
        topic, found = int(rows["topic"][i]), []
        for log in self.logs.values():
            if self.tables.log_topic(log.number) == topic:
                least, most = self.brackets[log.number].reach(t_call, t_ret, wall_ret)
                found.append(
                    Named(log, least, most, log.records_of(int(rows["id"][i]), least, most))
                )
        return found

    def at(self, rows: Rows, i: int) -> str:
        """Where a row's log is, for people."""
        return self.tables.log_name(int(rows["log"][i]))
