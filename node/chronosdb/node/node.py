"""A node: everything wired together, started in order and stopped in reverse."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

import trio

from chronosdb.node.broker import Broker
from chronosdb.node.cluster.alone import Alone
from chronosdb.node.cluster.in_cluster import InCluster
from chronosdb.node.cluster.member import Duties, Member
from chronosdb.node.cluster.set_up import set_up
from chronosdb.node.configuration.config import Config
from chronosdb.node.environment import Environment, Listeners, bound_address, names_address
from chronosdb.node.holding.holding import Hooks
from chronosdb.node.holding.opener import Opener, PartitionDefaults
from chronosdb.node.identity import Identity
from chronosdb.node.observe import http
from chronosdb.node.observe.loop_lag import LoopLag
from chronosdb.node.observe.metrics import Metrics
from chronosdb.node.observe.stats import NodeFacts, Stats
from chronosdb.node.partition.committer import CommitOptions
from chronosdb.node.partition.partition import Partition
from chronosdb.node.partition.retirement import RetentionLimits
from chronosdb.node.retention import Retention
from chronosdb.node.service.connection import Connection, ConnectionOptions
from chronosdb.node.service.requests import Services
from chronosdb.node.service.server import Server, Stream
from chronosdb.node.views import open_views
from chronosdb.sched import RetryPolicy
from chronosdb.wal import LogOptions
from chronosdb.wal.layout import DataDir
from chronosdb.wire import messages as m
from chronosdb.wire.limits import MAX_FRAME_BYTES, PROTOCOL_VERSION

logger = logging.getLogger(__name__)

#: This part of the reserve no log takes: the metadata must go on, too.
_FLOOR_SHARE: Final = 4


@dataclass(frozen=True, slots=True)
class Started:
    """A node that serves."""

    identity: Identity
    #: Where clients connect: the port is the real one, also where the configuration said 0.
    address: str
    #: Where HTTP answers, if it does.
    http: str | None

    @property
    def name(self) -> str:
        """The node's."""
        return self.identity.node_id


class Node:
    """One ChronosDB node."""

    def __init__(self, config: Config, env: Environment | None = None) -> None:
        self._config = config
        self._env = env or Environment()
        self._stop = trio.Event()
        self._health = http.Health()
        self._http_address: str | None = None
        #: None until the node knows whether it is alone.
        self.member: Member | None = None
        #: Whether there is anything to stop in order.
        self._serving = False

    def stop(self) -> None:
        """Begin a graceful stop; `run` returns when it is done."""
        self._stop.set()

    async def run(self, task_status: trio.TaskStatus[Started] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until stopped.

        Raises:
            Locked: another process uses the data directory.
            ConfigError: the settings contradict what the directory was set up as.
            WrongDirectory: it is another node's.
            LogDamaged: durable bytes are wrong; nothing was changed.
            LogFailed: the disk failed while serving.
            Expelled: the cluster does not want this node any more.
            OSError: an address or a directory cannot be had.
        """
        env, config = self._env, self._config
        data_dir = DataDir(config.data_dir)
        for directory in (data_dir.path, data_dir.partitions, data_dir.raft):
            env.disk.mkdir(directory)
        lock = env.disk.lock(data_dir.lock)
        try:
            identity, charter = set_up(env, data_dir, config)
            with open_views(env, data_dir, config.views_write_buffer_bytes) as views:
                opener = Opener(env, data_dir, views, _partition_defaults(config))
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(env.clock.watch_steps)
                    if config.http is not None:
                        with names_address(str(config.http)):
                            urls = await nursery.start(http.serve, self._health, str(config.http))
                        self._http_address = urls[0].removeprefix("http://")
                    member: Member
                    if charter is None:
                        member = Alone(env, identity, opener, data_dir.raft)
                    else:
                        nursery.start_soon(self._give_up_starting, nursery.cancel_scope)
                        member = await InCluster.open(env, config, charter, opener, data_dir.raft)
                    self.member = member
                    await nursery.start(member.run)
                    await self._serve(identity, member, opener, task_status)
                    nursery.cancel_scope.cancel()
        finally:
            lock.release()

    async def _serve(
        self,
        identity: Identity,
        member: Member,
        opener: Opener,
        task_status: trio.TaskStatus[Started],
    ) -> None:
        """Serve clients and health until stopped, then wind down."""
        config = self._config
        with names_address(str(config.listen)):
            listeners = await self._env.network.listen(config.listen.host, config.listen.port)
        bound = bound_address(listeners[0], str(config.listen))
        address = str(config.advertise or bound)
        broker = Broker(member.metadata, member.holding, opener, member.fanout)
        duties = member.duties(broker)
        scheduler = duties.schedules.scheduler
        server = self._server(identity, member, broker, duties, address)
        retention = Retention(self._env, broker)
        _connect(broker.hooks, duties, retention, server)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(retention.run)
            if config.http is not None:
                nursery.start_soon(self._measure, member, broker, server)
            drained = trio.Event()
            await member.begin_life(address)
            await nursery.start(_run_broker, broker, drained)
            await member.be_counted()
            nursery.start_soon(scheduler.run)
            nursery.start_soon(member.run_duties)
            ended = trio.Event()
            nursery.start_soon(_run_server, server, listeners, ended)
            self._health.able = member.may_lead
            self._serving = self._health.ready = True
            logger.info("node %s serves on %s", identity.node_id, bound)
            task_status.started(Started(identity, bound, self._http_address))
            await self._stop.wait()
            self._health.ready = False
            with trio.move_on_after(config.shutdown_timeout_ms / 1000) as patience:
                await member.hand_over()
                server.refuse()
                scheduler.stop()
                broker.stop()
                await drained.wait()
                server.stop("the node is shutting down")
                await ended.wait()
            if patience.cancelled_caught:
                logger.warning("gave up waiting for a clean stop; the log is safe as it is")
            nursery.cancel_scope.cancel()

    async def _give_up_starting(self, scope: trio.CancelScope) -> None:
        """A node that waits for the others of its cluster can be stopped all the same."""
        await self._stop.wait()
        if not self._serving:
            scope.cancel()

    async def _measure(self, member: Member, broker: Broker, server: Server) -> None:
        """Let the HTTP port show how the node does. Runs for ever."""
        loop_lag = LoopLag()
        self._health.metrics = Metrics(
            self._env,
            broker,
            version=version("chronosdb"),
            traffic=server.traffic,
            loop_lag=loop_lag,
            figures=member.figures,
        )
        await loop_lag.run()

    def _server(
        self, identity: Identity, member: Member, broker: Broker, duties: Duties, address: str
    ) -> Server:
        config = self._config
        options = ConnectionOptions(
            config.max_inflight_bytes,
            config.handshake_timeout_ms / 1000,
            config.idle_timeout_ms / 1000,
        )

        def welcome() -> m.Welcome:
            return m.Welcome(
                PROTOCOL_VERSION,
                identity.cluster_id,
                identity.node_id,
                self._env.clock.now_ms(),
                MAX_FRAME_BYTES,
                # A client of a cluster has a choice of nodes.
                address if member.fanout is not None else "",
            )

        def connect(stream: Stream) -> Connection:
            return Connection(stream, services, options)

        server = Server(connect, config.max_connections)
        facts = NodeFacts(identity, config.data_dir, self._env.clock.now_ms())
        stats = Stats(self._env, broker, facts, server.traffic)
        services = Services(
            broker,
            duties.consumers,
            duties.groups,
            duties.schedules,
            stats,
            self._env.clock,
            welcome,
            member.administration(),
        )
        return server


def _connect(hooks: Hooks, duties: Duties, retention: Retention, server: Server) -> None:
    """Who is told of what happens to partitions."""

    def led(partition: Partition) -> None:
        duties.consumers.led(partition)
        # Else each of ten thousand that are opened at a start would make it look at all of them.
        if partition.retirement.limits:
            retention.wake()

    hooks.on_opened = duties.schedules.scheduler.recall
    hooks.on_led = led
    hooks.on_deposed = duties.consumers.deposed
    hooks.on_leaders_changed = server.leaders_changed


async def _run_broker(
    broker: Broker, drained: trio.Event, task_status: trio.TaskStatus[None]
) -> None:
    await broker.run(task_status)
    drained.set()


async def _run_server(server: Server, listeners: Listeners, ended: trio.Event) -> None:
    await server.run(listeners)
    ended.set()


def _partition_defaults(config: Config) -> PartitionDefaults:
    return PartitionDefaults(
        log=LogOptions(
            segment_bytes=config.segment_bytes,
            max_record_bytes=min(LogOptions().max_record_bytes, config.segment_bytes // 2),
            disk_reserve_bytes=config.disk_reserve_bytes,
            disk_floor_bytes=config.disk_reserve_bytes // _FLOOR_SHARE,
        ),
        commit=CommitOptions(
            fsync=config.fsync,
            fsync_interval_ms=config.fsync_interval_ms,
            checkpoint_bytes=config.checkpoint_bytes,
            checkpoint_interval_ms=config.checkpoint_interval_ms,
            dedup_window_ms=config.dedup_window_ms,
            max_delay_ms=config.max_delay_ms,
            max_pending=config.max_pending,
            group_bytes=min(CommitOptions().group_bytes, config.segment_bytes // 8),
        ),
        retry=RetryPolicy(
            max_attempts=config.max_attempts,
            ack_timeout_ms=config.ack_timeout_ms,
            backoff_ms=config.backoff_ms,
            backoff_max_ms=config.backoff_max_ms,
        ),
        retention=RetentionLimits(config.retention_ms, config.retention_bytes),
        cache_bytes=config.record_cache_bytes,
        timer_bytes=config.memory_budget_bytes,
        replication=config.replication,
    )
