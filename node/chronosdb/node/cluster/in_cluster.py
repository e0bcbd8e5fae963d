"""A node in a cluster of several: what it has beside what every node has, put together."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import msgspec
import trio

from chronosdb.node.broker import Broker
from chronosdb.node.cluster.disk_room import DiskRoom
from chronosdb.node.cluster.figures import copy_figures, count_copies, node_figures
from chronosdb.node.cluster.member import Administration, Duties
from chronosdb.node.cluster.overview import Overview, Readings
from chronosdb.node.cluster.set_up import read_secret
from chronosdb.node.configuration.config import Config
from chronosdb.node.consumers import Consumers
from chronosdb.node.controller.controller import Controller
from chronosdb.node.controller.heart import Heart
from chronosdb.node.controller.life import begin_life
from chronosdb.node.controller.operations import Operations
from chronosdb.node.controller.options import ControllerOptions
from chronosdb.node.controller.proposals import Proposer
from chronosdb.node.environment import Environment, bound_address, names_address
from chronosdb.node.fanout import messages as f
from chronosdb.node.fanout.fanout import Fanout
from chronosdb.node.groups_everywhere import GroupsEverywhere
from chronosdb.node.groups_here import GroupsHere
from chronosdb.node.holding.opener import Opener
from chronosdb.node.holding.placed import Placed, assignment_of
from chronosdb.node.members.assigned import Assigned
from chronosdb.node.members.assigner import Assigner
from chronosdb.node.members.reporter import Reporter
from chronosdb.node.metadata import Cluster, Metadata
from chronosdb.node.observe.figure import Figure
from chronosdb.node.partition.partition import PartitionId
from chronosdb.node.peers.calls import Calls
from chronosdb.node.peers.charter import Charter
from chronosdb.node.peers.handshake import Self
from chronosdb.node.peers.peers import Peers
from chronosdb.node.recurring.schedules import Schedules
from chronosdb.node.replication.assignment import Assignment
from chronosdb.node.replication.copies import Copies
from chronosdb.node.replication.options import ReplicationOptions
from chronosdb.raft import NOBODY, AdmitNode, TopicInfo
from chronosdb.wal.layout import join
from chronosdb.wire.errors import ChronosError

logger = logging.getLogger(__name__)

#: After so long a wait its reason is said, and again.
_EXPLAIN_S: Final = 5.0
_RETRY_S: Final = 0.5
#: A node whose clock is wrong gets no lease; it serves all the same, and leads nothing.
_LEASE_WAIT_S: Final = 3.0
_HAND_OVER_S: Final = 3.0


class InCluster:
    """Implements `Member`."""

    def __init__(
        self, env: Environment, config: Config, cluster: Cluster, opener: Opener, directory: str
    ) -> None:
        self._env = env
        self._config = config
        self._cluster = cluster
        self._me = me = cluster.charter.node_id
        self.cluster_id = cluster.charter.cluster_id
        calls = cluster.calls
        options = ControllerOptions(
            heartbeat_interval_ms=config.heartbeat_interval_ms,
            lease_ms=config.lease_ms,
            max_clock_skew_ms=config.max_clock_skew_ms,
            voters=config.voters,
        )
        self.metadata = metadata = Metadata(env, directory, me, cluster)
        self.controller = Controller(env, me, metadata, calls, options)
        self.heart = Heart(
            env, me, metadata=metadata, calls=calls, controller=self.controller, options=options
        )
        self.fanout = Fanout(me, lambda: metadata.view, calls)
        self._proposer = Proposer(metadata)
        self.copies = Copies(
            env,
            me,
            calls=calls,
            peers=cluster.peers,
            fences_path=join(directory, "fences"),
            propose=self._propose,
            lease=self.heart,
            options=ReplicationOptions(config.replica_lag_max_ms, config.catch_up_bytes),
        )
        self.controller.hold(self.copies)
        self.controller.reaches = cluster.peers.is_up
        self.holding = Placed(
            env, me, metadata=metadata, opener=opener, copies=self.copies, calls=calls
        )
        self._room = DiskRoom(env.disk, directory, config.disk_reserve_bytes, self.heart.abstain)
        self._assigner = Assigner(metadata, calls, self._acts)
        self._duties: Duties | None = None
        self._reporter: Reporter | None = None
        self._nursery: trio.Nursery | None = None
        #: Of the life that was begun.
        self._incarnation = 0

    @classmethod
    async def open(
        cls, env: Environment, config: Config, charter: Charter, opener: Opener, directory: str
    ) -> InCluster:
        """Listen for peers, and put everything together.

        Raises:
            ConfigError: the secret cannot be used.
            OSError: the address cannot be had.
        """
        secret, listen = read_secret(env, config), config.peer_listen
        with names_address(str(listen)):
            listeners = await env.network.listen(listen.host, listen.port)
        # A node may move: the charter has the address of its first start.
        address = str(config.peer_advertise or bound_address(listeners[0], str(listen)))
        charter = msgspec.structs.replace(charter, address=address)
        me = Self(charter.cluster_id, charter.node_id, charter.birth, secret)
        peers = Peers(me, env.network, env.random)
        cluster = Cluster(charter, peers, Calls(peers, env.random), listeners)
        return cls(env, config, cluster, opener, directory)

    def duties(self, broker: Broker) -> Duties:
        """See `Member.duties`."""
        env, metadata = self._env, self.metadata
        assigned = Assigned(self._me, lambda: metadata.view)
        consumers = Consumers(broker, assigned)
        self._reporter = Reporter(
            self._me,
            metadata,
            self._cluster.calls,
            env.random,
            attached=consumers.attached,
            here=self._assigner.take,
        )
        assigned.on_members = self._reporter.changed
        here = GroupsHere(broker, consumers, env.clock)
        groups = GroupsEverywhere(broker, consumers, here, self.fanout, env.clock)
        schedules = Schedules(env, metadata, broker, self.fanout, self._acts)
        self._duties = Duties(consumers, groups, schedules)
        return self._duties

    def administration(self) -> Administration:
        """See `Member.administration`."""
        overview = Overview(
            self.cluster_id,
            self._me,
            metadata=self.metadata,
            readings=Readings(self._heard, self._lags),
            fanout=self.fanout,
        )
        return Administration(overview, Operations(self.metadata))

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """See `Member.run`."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            with trio.CancelScope() as waiting:
                nursery.start_soon(self._explain_waiting, waiting)
                await nursery.start(self.metadata.run)
            waiting.cancel()
            nursery.start_soon(self.controller.run)
            nursery.start_soon(self._proposer.run)
            await nursery.start(self.copies.run)
            task_status.started()

    async def begin_life(self, address: str) -> None:
        """See `Member.begin_life`: what this node led before, others may lead from now on."""
        self._incarnation = await self._registered(address)

    async def be_counted(self) -> None:
        """See `Member.be_counted`; returns when this node may lead, or after a while.

        Not before its copies are open: whoever is heard is asked how far they are, and elected.
        """
        assert self._nursery is not None
        leased = trio.Event()
        self.heart.watch(lambda held: leased.set() if held else None)
        self._nursery.start_soon(self.heart.run, self._incarnation)
        with trio.move_on_after(_LEASE_WAIT_S):
            await leased.wait()

    def may_lead(self) -> bool:
        """See `Member.may_lead`."""
        return self.heart.held

    async def figures(self) -> Sequence[Figure]:
        """See `Member.figures`."""
        metadata, peers = self.metadata, self._cluster.peers
        view = metadata.view
        others = [
            name for name, node in view.nodes.items() if name != self._me and not node.has_left
        ]
        facts = {
            "copies_set_aside": self.copies.mended.set_aside,
            "leaderships": self.holding.leaderships,
            "lease_held": self.heart.held,
            "metadata_leads": metadata.is_leader,
            "metadata_term": metadata.term,
            "metadata_version": view.version,
            "partitions_leaderless": sum(t.leaders.count(NOBODY) for t in view.topics.values()),
            "peers": len(others),
            "peers_up": sum(map(peers.is_up, others)),
            "records_mended": self.copies.mended.records,
        }
        counts = await count_copies(self.copies, view)
        return [*copy_figures(counts), *node_figures(facts)]

    async def run_duties(self) -> None:
        """See `Member.run_duties`."""
        assert self._duties is not None
        assert self._reporter is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._duties.consumers.run, self.metadata)
            nursery.start_soon(self._assigner.run)
            nursery.start_soon(self._reporter.run)
            nursery.start_soon(self._room.run)

    async def hand_over(self) -> None:
        """See `Member.hand_over`; not for long: whoever takes over can do so without us, too."""
        with trio.move_on_after(_HAND_OVER_S) as patience:
            await self.heart.resign()
        if patience.cancelled_caught:
            logger.info("what this node leads others will lead when it is gone")

    async def _registered(self, address: str) -> int:
        """This node's incarnation, once the cluster knows it."""
        while True:
            try:
                incarnation = await begin_life(self.metadata, self._me, address)
                rack, known = self._config.rack, self.metadata.view.nodes[self._me]
                if rack not in {"", known.rack}:
                    where = self._cluster.charter.address
                    await self.metadata.submit(AdmitNode(self._me, where, rack))
            except ChronosError as error:
                logger.info("not registered yet: %s", error)
                await trio.sleep(_RETRY_S)
            else:
                return incarnation

    async def _explain_waiting(self, scope: trio.CancelScope) -> None:
        """Say why a node that was started does not serve."""
        while not scope.cancel_called:
            with trio.move_on_after(_EXPLAIN_S):
                await trio.sleep_forever()
            if not scope.cancel_called:
                logger.warning(
                    "waiting for a majority of the cluster's voters: %s", self._obstacle()
                )

    def _obstacle(self) -> str:
        """What probably keeps this node from its cluster."""
        charter = self._cluster.charter
        missing = [
            f"{name} ({address})"
            for name, address in charter.peers.items()
            if not self._cluster.peers.is_up(name)
        ]
        if missing:
            return f"no connection to {', '.join(missing)}"
        return (
            f"it reaches them; they may not reach it at {charter.address}: if it has moved there, say"
            f" `chronos cluster add {self._me}={charter.address}` to one of them"
        )

    def _acts(self) -> bool:
        """Whether this node does what one node does for the whole cluster."""
        return self.metadata.is_leader and self.heart.held

    def _heard(self) -> list[f.Heard]:
        """What the controller knows of all nodes, if this node is it."""
        if not self._acts():
            return []
        health = self.controller.heard()
        return [f.Heard(node, one.silent_ms, one.ahead_ms) for node, one in health.items()]

    def _lags(self, topic: TopicInfo) -> list[f.Lag]:
        """By how much the copies of what this node leads of a topic are behind."""
        found = (
            (p, self.copies.status(PartitionId(topic.name, topic.id, p)))
            for p in range(topic.partitions)
        )
        return [
            f.Lag(p, node, nbytes)
            for p, status in found
            if status is not None and status.role == "leader"
            for node, nbytes in {self._me: 0, **status.lag}.items()
        ]

    async def _propose(
        self, identity: PartitionId, base: Assignment, isr: tuple[str, ...]
    ) -> Assignment | None:
        """See `replication.assignment.Propose`."""
        index = identity.partition
        topic = await self._proposer.propose(
            identity.topic, identity.topic_id, index, base.version, isr
        )
        return None if topic is None else assignment_of(topic, index)
