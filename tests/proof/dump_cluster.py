"""The judge of a cluster: of each partition the log of its last leader, and what every copy holds.

The copies are compared by the checker, record by record: a "copy" line has the place, the epoch and a sum
of the bytes of each record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from chronosdb.node.log_commands import find_logs
from chronosdb.raft import ClusterView, TopicInfo
from chronosdb.wal import DamagedRecord, DataDir, Disk, Log, LogOptions, Record
from tests.proof.dump import dump_log
from tests.proof.history import Recorder
from tests.proof.metadata_view import metadata_view

#: Records on one line.
_TOGETHER: Final = 500
_OPTIONS: Final = LogOptions()


@dataclass(frozen=True, slots=True)
class Holder:
    """A stopped node's directory."""

    disk: Disk
    data_dir: str


def dump_cluster(recorder: Recorder, nodes: Mapping[str, Holder]) -> None:
    """File each partition's log as sights "log", and all its copies as sights "copy".

    `nodes` are those that are members, by name.
    """
    views = [metadata_view(one.disk, one.data_dir) for one in nodes.values()]
    view = max(views, key=lambda one: one.version)
    for topic, partition, copies in _partitions(view, nodes):
        place = {"topic": topic.name, "partition": partition}
        best = _last_leader(topic, partition, copies, nodes)
        for node, directory in copies.items():
            disk, leads = nodes[node].disk, node == best
            for line in copy_lines(disk, directory):
                recorder.saw("copy", {**place, "node": node, "leads": leads, **line})
            if leads:
                dump_log(recorder, disk, directory, topic.name, partition)


def _partitions(
    view: ClusterView, nodes: Mapping[str, Holder]
) -> Iterator[tuple[TopicInfo, int, dict[str, str]]]:
    """Each partition, and where its copies lie."""
    found = {
        name: {path.rpartition("/")[2]: path for path in find_logs(one.disk, _partitions_of(one))}
        for name, one in nodes.items()
    }
    for topic in view.topics.values():
        for partition in range(topic.partitions):
            name, replicas = f"{topic.id}-{partition}", topic.replicas[partition]
            copies = {node: found[node][name] for node in replicas if name in found.get(node, ())}
            if copies:
                yield topic, partition, copies


def _last_leader(
    topic: TopicInfo, partition: int, copies: Mapping[str, str], nodes: Mapping[str, Holder]
) -> str:
    """If nobody leads it: who would be elected, the longest log of the newest epoch that is in sync."""
    if topic.leaders[partition] in copies:
        return topic.leaders[partition]
    able = [node for node in topic.isrs[partition] if node in copies]

    def reach(node: str) -> tuple[int, int]:
        log = Log.open(nodes[node].disk, copies[node], _OPTIONS, log_id=None, writable=False)
        try:
            return log.last_epoch(), log.end_lsn
        finally:
            log.close()

    return max(able or copies, key=reach)


def _partitions_of(one: Holder) -> str:
    return DataDir(one.data_dir).partitions


def copy_lines(disk: Disk, directory: str) -> Iterator[dict[str, Any]]:
    """What one log holds, as columns; then where it begins and ends."""
    log = Log.open(disk, directory, _OPTIONS, log_id=None, writable=False)
    try:
        records: list[Record] = []
        try:
            for record in log.scan():
                records.append(record)
                if len(records) == _TOGETHER:
                    yield _columns(records)
                    records.clear()
        except DamagedRecord:
            pass  # said by the dump of the leader's log; of another copy it is that copy's end
        yield {**_columns(records), "begin": log.start_lsn, "end": log.end_lsn}
    finally:
        log.close()


def _columns(records: list[Record]) -> dict[str, Any]:
    return {
        "lsn": [record.lsn for record in records],
        "epoch": [record.epoch for record in records],
        "sum": [_sum(record) for record in records],
    }


def _sum(record: Record) -> str:
    """Equal if and only if the bytes are."""
    head = (
        *(record.synced_lsn, record.kind, record.ts_ms),
        *(record.offset, record.offsets, record.position, record.positions),
    )
    return blake2b(repr(head).encode() + record.body, digest_size=8).hexdigest()
