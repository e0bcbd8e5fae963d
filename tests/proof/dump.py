"""The judge: what the logs of a stopped node say, record by record, as lines of a history.

Read from the files alone, without any view, and without changing a byte. Of the node's code only the
decoding of records has a part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from chronosdb.client.meta import decode_meta
from chronosdb.node.log_commands import find_logs
from chronosdb.node.partition import records
from chronosdb.node.partition.carry import Carry
from chronosdb.node.partition.records import Kind
from chronosdb.sched import Cursor
from chronosdb.wal import DamagedRecord, DataDir, Disk, Log, LogOptions, Record, verify
from chronosdb.wire import EventBatch
from chronosdb.wire.batch import EXPIRES, RELATIVE
from chronosdb.wire.letters import Facts, without_facts
from tests.proof.history import Recorder, content_of
from tests.proof.metadata_view import metadata_view

_OPTIONS: Final = LogOptions()


def dump(
    recorder: Recorder, disk: Disk, data_dir: str, topics: Mapping[int, str] | None = None
) -> None:
    """File all logs in `data_dir` as sights "log". No node may be running there.

    Without `topics` their names are what the metadata in `data_dir` say.
    """
    if topics is None:
        topics = topic_names(disk, data_dir)
    for directory in find_logs(disk, DataDir(data_dir).partitions):
        topic_id, partition = directory.rpartition("/")[2].split("-")
        topic = topics.get(int(topic_id), f"deleted {topic_id}")
        dump_log(recorder, disk, directory, topic, int(partition))


def dump_log(recorder: Recorder, disk: Disk, directory: str, topic: str, partition: int) -> None:
    """File one log as sights "log"; nobody may be writing it."""
    for line in _lines(disk, directory):
        recorder.saw("log", {"topic": topic, "partition": partition, **line})


def topic_names(disk: Disk, data_dir: str) -> dict[int, str]:
    """The topics there are, by the id that their directories have."""
    return {topic.id: topic.name for topic in metadata_view(disk, data_dir).topics.values()}


def _lines(disk: Disk, directory: str) -> Iterator[dict[str, Any]]:
    problems = [str(problem) for problem in verify(disk, directory).problems]
    log = Log.open(disk, directory, _OPTIONS, log_id=None, writable=False)
    began = False
    try:
        for record in log.scan():
            if not began:
                began = True
                yield _point("begin", record.offset, record.position, record.ts_ms)
            yield {"ts_ms": record.ts_ms, **_BODIES[Kind(record.kind)](record)}
    except DamagedRecord:
        assert problems
    finally:
        log.close()
    end = _point("end", log.next_offset, log.next_position, log.last_ts_ms)
    yield {**end, "problems": problems} if problems else end


def _point(what: str, offset: int, position: int, ts_ms: int) -> dict[str, Any]:
    return {"what": what, "ts_ms": ts_ms, "offset": offset, "position": position}


def _publish(record: Record) -> dict[str, Any]:
    batch = records.read_batch(record)
    return {"what": "publish", "first": record.offset, **_events(batch)}


def _events(batch: EventBatch) -> dict[str, Any]:
    parted = [without_facts(batch.meta(i)) for i in range(batch.count)]
    columns: dict[str, Any] = {
        "id": [message_id.decode(errors="backslashreplace") for message_id in batch.ids()],
        "due": batch.due.tolist(),
        "content": [
            content_of(batch.key(i), decode_meta(meta), batch.payload(i))
            for i, (_, meta) in enumerate(parted)
        ],
    }
    if any(flag & RELATIVE for flag in batch.flags):
        columns["relative"] = [flag & RELATIVE for flag in batch.flags]
    if any(flag & EXPIRES for flag in batch.flags):
        columns["expires"] = [batch.expires(i) for i in range(batch.count)]
    if any(facts for facts, _ in parted):
        columns["letter"] = [_letter(facts) for facts, _ in parted]
    return columns


def _letter(facts: Facts | None) -> dict[str, Any] | None:
    """Of which event a dead letter is the copy."""
    return None if facts is None else msgspec.structs.asdict(facts)


def _fire(record: Record) -> dict[str, Any]:
    return {"what": "fire", "first": record.position, **_due(record)}


def _move(record: Record) -> dict[str, Any]:
    return {"what": "move", **_due(record)}


def _due(record: Record) -> dict[str, Any]:
    due = records.read_due(record)
    return {"offset": due.offsets.tolist(), "due": due.due_ms.tolist()}


def _cancel(record: Record) -> dict[str, Any]:
    return {"what": "cancel", "offset": records.read_cancel(record).tolist()}


def _settle(record: Record) -> dict[str, Any]:
    body = records.read_settle(record)
    reason = records.SettleReason(body.reason).name.lower()
    return {"what": "settle", "group": body.group, "reason": reason, "runs": body.pairs}


def _retry(record: Record) -> dict[str, Any]:
    body = records.read_retries(record)
    return {
        "what": "retry",
        "group": body.group,
        "position": [row.position for row in body.rows],
        "attempt": [row.attempt for row in body.rows],
    }


def _group(record: Record) -> dict[str, Any]:
    body = records.read_group(record)
    return {"what": "group", "group": body.group, "position": body.start}


def _carry(record: Record) -> dict[str, Any]:
    carry = Carry(record)
    published = [run.published_ms for run in carry.runs() for _ in range(run.size)]
    return {
        "what": "carry",
        "offset": carry.offsets.tolist(),
        "published_ms": published,
        "due_now": carry.due_ms.tolist(),
        "pending": carry.pending.astype(int).tolist(),
        **_events(carry.batch),
    }


def _groups(record: Record) -> dict[str, Any]:
    stands = records.read_groups(record)
    cursors = [Cursor.from_bytes(stand.cursor) for stand in stands]
    return {
        "what": "groups",
        "group": [stand.retries.group for stand in stands],
        "low": [cursor.low for cursor in cursors],
        "above": [list(cursor.above()) for cursor in cursors],
        "since_ms": [stand.since_ms for stand in stands],
    }


def _epoch(record: Record) -> dict[str, Any]:
    return {"what": "epoch", "epoch": record.epoch}


_BODIES: Final[dict[Kind, Callable[[Record], dict[str, Any]]]] = {
    Kind.PUBLISH: _publish,
    Kind.FIRE: _fire,
    Kind.SETTLE: _settle,
    Kind.RETRY: _retry,
    Kind.GROUP: _group,
    Kind.EPOCH: _epoch,
    Kind.CANCEL: _cancel,
    Kind.MOVE: _move,
    Kind.CARRY: _carry,
    Kind.GROUPS: _groups,
}
