"""A node: everything wired together, started in order and stopped in reverse."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.metadata import version

import trio

from chronosdb.node.broker import Broker, BrokerOptions
from chronosdb.node.configuration.config import Config
from chronosdb.node.consumers import Consumers
from chronosdb.node.environment import Environment, Listeners, names_address
from chronosdb.node.identity import Identity, load_or_create
from chronosdb.node.metadata import Metadata
from chronosdb.node.observe import http
from chronosdb.node.observe.loop_lag import LoopLag
from chronosdb.node.observe.metrics import Metrics
from chronosdb.node.observe.stats import NodeFacts, Stats
from chronosdb.node.partition.committer import CommitOptions
from chronosdb.node.partition.retirement import RetentionLimits
from chronosdb.node.recurring.schedules import Schedules
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


@dataclass(frozen=True, slots=True)
class Started:
    """A node that serves."""

    identity: Identity
    #: Where clients connect: the port is the real one, also where the configuration said 0.
    address: str


class Node:
    """One ChronosDB node."""

    def __init__(self, config: Config, env: Environment | None = None) -> None:
        self._config = config
        self._env = env or Environment()
        self._stop = trio.Event()
        self._health = http.Health()

    def stop(self) -> None:
        """Begin a graceful stop; `run` returns when it is done."""
        self._stop.set()

    async def run(self, task_status: trio.TaskStatus[Started] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until stopped.

        Raises:
            Locked: another process uses the data directory.
            LogDamaged: durable bytes are wrong; nothing was changed.
            LogFailed: the disk failed while serving.
            OSError: an address or a directory cannot be had.
        """
        env, config = self._env, self._config
        data_dir = DataDir(config.data_dir)
        for directory in (data_dir.path, data_dir.partitions, data_dir.raft):
            env.disk.mkdir(directory)
        lock = env.disk.lock(data_dir.lock)
        try:
            identity = load_or_create(env, data_dir, config.node_id)
            with open_views(env, data_dir, config.views_write_buffer_bytes) as views:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(env.clock.watch_steps)
                    metadata = Metadata(env, data_dir.raft, identity.node_id)
                    await nursery.start(metadata.run)
                    broker = Broker(
                        env,
                        data_dir,
                        identity.node_id,
                        metadata=metadata,
                        views=views,
                        options=_broker_options(config),
                    )
                    schedules = Schedules(env, metadata, broker)
                    broker.on_opened = schedules.scheduler.recall
                    nursery.start_soon(self._retain(broker).run)
                    await self._serve(identity, broker, schedules, task_status)
                    nursery.cancel_scope.cancel()
        finally:
            lock.release()

    async def _serve(
        self,
        identity: Identity,
        broker: Broker,
        schedules: Schedules,
        task_status: trio.TaskStatus[Started],
    ) -> None:
        """Serve clients and health until stopped, then wind down."""
        config = self._config
        with names_address(str(config.listen)):
            listeners = await self._env.network.listen(config.listen.host, config.listen.port)
        address = _bound_address(listeners[0], str(config.listen))
        server = self._server(identity, broker, schedules)
        async with trio.open_nursery() as nursery:
            if config.http is not None:
                with names_address(str(config.http)):
                    await nursery.start(http.serve, self._health, str(config.http))
                nursery.start_soon(self._measure, broker, server)
            drained = trio.Event()
            await nursery.start(_run_broker, broker, address, drained)
            nursery.start_soon(schedules.scheduler.run)
            ended = trio.Event()
            nursery.start_soon(_run_server, server, listeners, ended)
            self._health.ready = True
            logger.info("node %s serves on %s", identity.node_id, address)
            task_status.started(Started(identity, address))
            await self._stop.wait()
            self._health.ready = False
            with trio.move_on_after(config.shutdown_timeout_ms / 1000) as patience:
                server.refuse()
                schedules.scheduler.stop()
                broker.stop()
                await drained.wait()
                server.stop("the node is shutting down")
                await ended.wait()
            if patience.cancelled_caught:
                logger.warning("gave up waiting for a clean stop; the log is safe as it is")
            nursery.cancel_scope.cancel()

    def _retain(self, broker: Broker) -> Retention:
        """What lets old segments go; a stopping partition ends what it does with it."""
        retention = Retention(self._env, broker)
        broker.on_serving = retention.wake
        return retention

    async def _measure(self, broker: Broker, server: Server) -> None:
        """Let the HTTP port show how the node does. Runs for ever."""
        loop_lag = LoopLag()
        self._health.metrics = Metrics(
            self._env,
            broker,
            version=version("chronosdb"),
            traffic=server.traffic,
            loop_lag=loop_lag,
        )
        await loop_lag.run()

    def _server(self, identity: Identity, broker: Broker, schedules: Schedules) -> Server:
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
            )

        def connect(stream: Stream) -> Connection:
            return Connection(stream, services, options)

        server = Server(connect, config.max_connections)
        facts = NodeFacts(identity, config.data_dir, self._env.clock.now_ms())
        stats = Stats(self._env, broker, facts, server.traffic)
        services = Services(broker, Consumers(broker), schedules, stats, self._env.clock, welcome)
        return server


async def _run_broker(
    broker: Broker, address: str, drained: trio.Event, task_status: trio.TaskStatus[None]
) -> None:
    await broker.run(address, task_status)
    drained.set()


async def _run_server(server: Server, listeners: Listeners, ended: trio.Event) -> None:
    await server.run(listeners)
    ended.set()


def _bound_address(listener: object, configured: str) -> str:
    """Where a listener really listens."""
    if not isinstance(listener, trio.SocketListener):
        return configured
    host, port = listener.socket.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _broker_options(config: Config) -> BrokerOptions:
    return BrokerOptions(
        log=LogOptions(
            segment_bytes=config.segment_bytes,
            max_record_bytes=min(LogOptions().max_record_bytes, config.segment_bytes // 2),
            disk_reserve_bytes=config.disk_reserve_bytes,
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
    )
