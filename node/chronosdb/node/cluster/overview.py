"""How the cluster is, put together from the metadata, the controller, and what each node says of itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Final

from chronosdb.node.fanout import messages as f
from chronosdb.node.fanout.fanout import Fanout
from chronosdb.node.metadata import Metadata
from chronosdb.raft import NOBODY, ClusterView, NodeInfo, TopicInfo
from chronosdb.raft import NodeState as State
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ChronosError, NotFound

#: What nodes that do not answer delay the whole by.
_WITHIN_MS: Final = 1_500


@dataclass(frozen=True, slots=True)
class Readings:
    """What only this node knows."""

    #: If it leads the metadata: what it heard of each node.
    heard: Callable[[], Sequence[f.Heard]] = tuple
    #: Of the partitions of a topic that are led here: by how much each copy is behind.
    lags: Callable[[TopicInfo], Sequence[f.Lag]] = lambda _topic: ()


@dataclass(slots=True)
class _Said:
    """What all nodes together said."""

    versions: dict[str, str] = field(default_factory=dict)
    heard: dict[str, f.Heard] = field(default_factory=dict)
    #: (partition, node) → bytes.
    lags: dict[tuple[int, str], int] = field(default_factory=dict)


class Overview:
    """Any node's answer to how the cluster is."""

    def __init__(
        self,
        cluster_id: str,
        node_id: str,
        *,
        metadata: Metadata,
        readings: Readings,
        fanout: Fanout | None,
    ) -> None:
        self._cluster_id = cluster_id
        self._node_id = node_id
        self._metadata = metadata
        self._readings = readings
        self._fanout = fanout
        if fanout is not None:
            fanout.answer(f.ReadNode, self._serve)

    async def describe(self, topic: str | None) -> tuple[m.ClusterState, list[m.PartitionState]]:
        """The cluster; and the partitions of a topic, if there is one asked for.

        Raises:
            NotFound: there is no such topic.
        """
        said = await self._ask_all(topic)
        view = self._metadata.view
        partitions: list[m.PartitionState] = []
        if topic is not None:
            info = view.topics.get(topic)
            if info is None:
                raise NotFound(f"there is no topic {topic!r}")
            partitions = [_partition(info, p, said.lags) for p in range(info.partitions)]
        return self._cluster(view, said), partitions

    async def _ask_all(self, topic: str | None) -> _Said:
        """What the nodes say; of one that does not answer there is nothing."""
        answers: Mapping[str, f.NodeReading | ChronosError]
        if self._fanout is None:
            answers = {self._node_id: self._read(topic)}
        else:
            nodes = self._metadata.view.nodes.values()
            names = [node.node for node in nodes if node.state is not State.LEFT]
            question = f.ReadNode(topic)
            answers = await self._fanout.each(names, question, f.NodeReading, within_ms=_WITHIN_MS)
        said = _Said()
        for name, answer in answers.items():
            if isinstance(answer, f.NodeReading):
                said.versions[name] = answer.version
                said.heard.update({one.node: one for one in answer.heard})
                said.lags.update({(lag.partition, lag.node): lag.nbytes for lag in answer.lags})
        return said

    def _cluster(self, view: ClusterView, said: _Said) -> m.ClusterState:
        led: dict[str, int] = {}
        copies: dict[str, int] = {}
        for info in view.topics.values():
            for p in range(info.partitions):
                led[info.leaders[p]] = led.get(info.leaders[p], 0) + 1
                for node in info.replicas[p]:
                    copies[node] = copies.get(node, 0) + 1
        voters = view.voters or (self._node_id,)
        nodes = [
            _node(info, name in voters, said, led.get(name, 0), copies.get(name, 0))
            for name, info in sorted(view.nodes.items())
            if info.state is not State.LEFT
        ]
        alive = {n.node for n in view.nodes.values() if n.state in {State.ALIVE, State.DRAINING}}
        everywhere = [(t, p) for t in view.topics.values() for p in range(t.partitions)]
        return m.ClusterState(
            cluster_id=self._cluster_id,
            answered_by=self._node_id,
            leader=self._metadata.leader or "",
            nodes=nodes,
            partitions=len(everywhere),
            leaderless=led.get(NOBODY, 0),
            behind=sum(is_behind(t, p, alive) for t, p in everywhere),
            moving=sum(bool(t.target(p)) for t, p in everywhere),
        )

    async def _serve(self, _asker: str, question: f.ReadNode) -> f.NodeReading:
        return self._read(question.topic)

    def _read(self, topic: str | None) -> f.NodeReading:
        info = self._metadata.view.topics.get(topic) if topic is not None else None
        lags = [] if info is None else list(self._readings.lags(info))
        return f.NodeReading(version("chronosdb"), list(self._readings.heard()), lags)


def is_behind(topic: TopicInfo, partition: int, alive: Collection[str]) -> bool:
    """Whether a partition has fewer copies in sync, on nodes that are alive, than it should have."""
    target = topic.target(partition)
    wanted = len(target) or max(
        len(topic.replicas[partition]), topic.settings.get("replication", 1)
    )
    return sum(node in alive for node in topic.isrs[partition]) < wanted


def _node(info: NodeInfo, votes: bool, said: _Said, led: int, copies: int) -> m.NodeState:
    heard = said.heard.get(info.node)
    return m.NodeState(
        name=info.node,
        address=info.address,
        peer_address=info.peer_address,
        rack=info.rack,
        state=info.state.value,
        votes=votes,
        reached=info.node in said.versions,
        silent_ms=None if heard is None else heard.silent_ms,
        ahead_ms=None if heard is None else heard.ahead_ms,
        version=said.versions.get(info.node, ""),
        led=led,
        copies=copies,
    )


def _partition(
    info: TopicInfo, partition: int, lags: Mapping[tuple[int, str], int]
) -> m.PartitionState:
    leaving = info.leaving(partition)
    copies = [
        m.CopyState(
            node,
            in_sync=node in info.isrs[partition],
            leaving=node in leaving,
            lag_bytes=lags.get((partition, node)),
        )
        for node in info.replicas[partition]
    ]
    return m.PartitionState(partition, info.leaders[partition], info.epochs[partition], copies)
