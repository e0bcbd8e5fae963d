"""Partitions of this node on disk: opened with their topic's settings over the node's, and removed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chronosdb.node.environment import Environment
from chronosdb.node.partition.committer import CommitOptions
from chronosdb.node.partition.dispatcher import DeadLetter
from chronosdb.node.partition.opening import OpenPartition
from chronosdb.node.partition.partition import Partition, PartitionId, options_for, retention_for
from chronosdb.node.partition.reader import RecordCache
from chronosdb.node.partition.retirement import RetentionLimits
from chronosdb.node.partition.timer_memory import TimerMemory
from chronosdb.node.removal import remove_orphans, remove_partition
from chronosdb.raft import ClusterView, TopicInfo
from chronosdb.sched import RetryPolicy
from chronosdb.wal import KeyValue, LogOptions
from chronosdb.wal.layout import DataDir


@dataclass(frozen=True, slots=True)
class PartitionDefaults:
    """The node's defaults for its partitions; a topic's settings go over them."""

    log: LogOptions
    commit: CommitOptions
    retry: RetryPolicy
    retention: RetentionLimits
    cache_bytes: int
    timer_bytes: int
    #: Copies of a topic that does not say how many; 0: as many as a cluster should have.
    replication: int = 0


class Opener:
    """Where partitions are, what they are opened with, and how they are deleted."""

    def __init__(
        self, env: Environment, data_dir: DataDir, views: KeyValue, defaults: PartitionDefaults
    ) -> None:
        self._env = env
        self._data_dir = data_dir
        self._views = views
        self._cache = RecordCache(defaults.cache_bytes)
        self._timer_memory = TimerMemory(defaults.timer_bytes)
        self.defaults = defaults
        #: Told of deliveries that used up their attempts. Set before the first `open`.
        self.on_dead_letters: Callable[[Partition, Sequence[DeadLetter]], None]

    def opening(self, identity: PartitionId, info: TopicInfo) -> OpenPartition:
        """What it takes to open a partition, or a copy of one."""
        self._timer_memory.join(identity.directory)
        return OpenPartition(
            env=self._env,
            identity=identity,
            directory=self._data_dir.partition(identity.directory),
            views=self._views,
            cache=self._cache,
            log_options=self.defaults.log,
            options=options_for(self.defaults.commit, info.settings),
            on_dead_letters=self.on_dead_letters,
            retention=retention_for(self.defaults.retention, info.name, info.settings),
            timer_memory=self._timer_memory,
        )

    def remove(self, identity: PartitionId) -> None:
        """Delete a partition that is not open. Blocks: call it in a thread."""
        remove_partition(self._env.disk, self._data_dir, self._views, identity)
        self._timer_memory.leave(identity.directory)

    def remove_orphans(self, cluster: ClusterView, node_id: str | None = None) -> None:
        """Delete what a crash left of partitions that are nobody's, or are not `node_id`'s. Blocks."""
        remove_orphans(self._env.disk, self._data_dir, self._views, cluster, node_id)
