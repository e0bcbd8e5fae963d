"""Deleting what a deleted topic left: the views and files of its partitions.

The metadata forgets the topic first. From then on its folders are rubbish, which is removed at once, or,
after a crash, at the next start: an id below the metadata's next one, that no topic has, was deleted.
Folders with higher ids are left alone: metadata that knows less than the disk must not cost data.
In a cluster a partition may also have moved to other nodes: they have what is in its folder here. It may
come back as well, so half of a folder must never be taken for a log: a note beside it says that it goes.
"""

from __future__ import annotations

import logging
from typing import Final

from chronosdb.node.partition.partition import PartitionId
from chronosdb.raft import ClusterView, TopicInfo
from chronosdb.wal import Disk, KeyValue
from chronosdb.wal.layout import DataDir, join

logger = logging.getLogger(__name__)

#: Ends the name of the note that a folder is being removed.
_NOTE: Final = ".removed"


def remove_partition(disk: Disk, data_dir: DataDir, views: KeyValue, identity: PartitionId) -> None:
    """Delete a partition that nobody serves. Blocks: call it in a thread.

    The note goes last: as long as it is there, the next start knows that there is work left.
    """
    note = join(data_dir.partitions, identity.directory + _NOTE)
    disk.open(note, create=True).close()
    disk.fsync_dir(data_dir.partitions)
    views.namespaced(identity.log_id).delete_range(b"")
    directory = data_dir.partition(identity.directory)
    if disk.exists(directory):
        for name in disk.listdir(directory):
            disk.unlink(join(directory, name))
        disk.fsync_dir(directory)
        disk.rmdir(directory)
        disk.fsync_dir(data_dir.partitions)
    disk.unlink(note)
    disk.fsync_dir(data_dir.partitions)


def remove_orphans(
    disk: Disk,
    data_dir: DataDir,
    views: KeyValue,
    cluster: ClusterView,
    node_id: str | None = None,
) -> None:
    """Finish the deletions that a crash cut short. Blocks: call it in a thread.

    With `node_id`, also those of partitions that moved away from that node.
    """
    known = {topic.id: topic for topic in cluster.topics.values()}
    for name in disk.listdir(data_dir.partitions):
        noted = PartitionId.of_directory(name.removesuffix(_NOTE))
        if name.endswith(_NOTE) and noted is not None:
            remove_partition(disk, data_dir, views, noted)
    for name in disk.listdir(data_dir.partitions):
        identity = PartitionId.of_directory(name)
        if identity is None:
            continue
        topic = known.get(identity.topic_id)
        if topic is not None and (node_id is None or is_held(topic, identity.partition, node_id)):
            continue
        if identity.topic_id >= cluster.next_topic_id:
            logger.warning("the metadata knows nothing of partition folder %s; left alone", name)
            continue
        why = "of a deleted topic" if topic is None else "which other nodes hold"
        logger.info("removing partition folder %s %s", name, why)
        remove_partition(disk, data_dir, views, identity)


def is_held(topic: TopicInfo, partition: int, node_id: str) -> bool:
    """Whether a node has a replica; what has none yet, any node may take."""
    if partition >= topic.partitions:
        return False
    replicas = topic.replicas[partition]
    return not replicas or node_id in replicas
