"""What a partition's log says, read behind the node's back from its disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from chronosdb.node.partition import records
from chronosdb.node.partition.partition import PartitionId
from chronosdb.node.partition.records import Kind
from chronosdb.wal import Disk, Log, LogOptions
from chronosdb.wal.layout import DataDir
from tests.support.in_process import DATA_DIR

#: The first partition of the first topic.
FIRST = PartitionId("t", 1, 0)


def open_log(disk: Disk, partition: PartitionId = FIRST) -> Log:
    """The log, for reading."""
    directory = DataDir(DATA_DIR).partition(partition.directory)
    return Log.open(disk, directory, LogOptions(), log_id=partition.log_id, writable=False)


@final
@dataclass(slots=True)
class LogStory:
    """The records of a log, told in short."""

    #: Message id of each offset.
    ids: list[str] = field(default_factory=list)
    #: Offset, due time and log time of each position.
    fired: list[tuple[int, int, int]] = field(default_factory=list)
    #: Every GROUP record: name and first position.
    groups: list[tuple[str, int]] = field(default_factory=list)


def read_log(disk: Disk, partition: PartitionId = FIRST) -> LogStory:
    """Reads all of it; offsets and positions must be dense (I6)."""
    story = LogStory()
    for record in open_log(disk, partition).scan():
        match record.kind:
            case Kind.PUBLISH:
                assert record.offset == len(story.ids)
                story.ids += [i.decode() for i in records.read_batch(record).ids()]
            case Kind.FIRE:
                assert record.position == len(story.fired)
                due = records.read_due(record)
                rows = zip(due.offsets.tolist(), due.due_ms.tolist(), strict=True)
                story.fired += [(offset, due_ms, record.ts_ms) for offset, due_ms in rows]
            case Kind.GROUP:
                group = records.read_group(record)
                story.groups.append((group.group, group.start))
    return story
