"""Three nodes and a steady stream of events; one node is killed, and nothing is lost.

The nodes are processes, set up as `chronos cluster init` sets them up, and the client is the public one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from chronosdb.client import Client, Event, connect
from chronosdb.client.cli.cluster_files import Plan, PlannedNode, parse_nodes, write_files
from chronosdb.node.demo.child import NodeProcess
from chronosdb.wire.messages import ClusterState

TOPIC: Final = "orders"
GROUP: Final = "watchers"
PARTITIONS: Final = 6
_COPIES: Final = 3

_PEERS: Final = "n1=127.0.0.1:9001,n2=127.0.0.1:9011,n3=127.0.0.1:9021"
_BATCH: Final = 20
_PAUSE_S: Final = 0.05
#: Longer than a cluster needs to choose another leader.
_TIMEOUT_S: Final = 30.0
_LOOK_S: Final = 0.25
_HEALED_S: Final = 60.0

Say = Callable[[str], None]
Show = Callable[[ClusterState], None]


@dataclass(slots=True)
class Findings:
    """What came of it."""

    published: int = 0
    #: Acked, and not in the topic.
    lost: int = 0
    #: In the topic more than once.
    repeated: int = 0
    #: Acked by the group.
    consumed: int = 0
    #: The longest that a publish took.
    longest_ms: int = 0
    #: From the node's restart until all copies were in sync.
    healed_ms: int = 0

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return not self.lost and not self.repeated and self.consumed >= self.published


@dataclass(slots=True)
class ClusterStory:
    """One performance."""

    directory: Path
    say: Say
    show: Show
    #: How long events flow before the node is killed, and while it is dead.
    act_s: float
    peers: str = _PEERS
    findings: Findings = field(default_factory=Findings)
    _acked: set[str] = field(default_factory=set)
    _consumed: set[str] = field(default_factory=set)
    _enough: bool = False

    async def play(self, *, checked: Callable[[Findings], None], stay: bool) -> None:
        """Everything, from the files to the check; then, with `stay`, until cancelled.

        Raises:
            NodeDied: a node did not start.
            ChronosError: something was refused.
        """
        plan = Plan(
            "demo", parse_nodes(self.peers), str(self.directory), str(self.directory / "data")
        )
        write_files(plan, self.directory)
        async with self._nodes(plan) as nodes, connect(plan.servers, timeout=_TIMEOUT_S) as db:
            self.say(f"three nodes serve: {plan.servers}")
            await db.create_topic(TOPIC, partitions=PARTITIONS, replication=_COPIES)
            self.say(f"topic {TOPIC}: {PARTITIONS} partitions, each on {_COPIES} nodes")
            async with trio.open_nursery() as nursery:
                await nursery.start(self._consume, db)
                await nursery.start(self._publish, db)
                await self._break_down(db, nodes)
                self._enough = True
                await self._settled()
                nursery.cancel_scope.cancel()
            await self._check(db)
            checked(self.findings)
            if stay:
                self.say(f"the cluster stays up: chronos --server {plan.servers} cluster status")
                self.say("Ctrl-C ends it")
                await trio.sleep_forever()

    @asynccontextmanager
    async def _nodes(self, plan: Plan) -> AsyncIterator[dict[str, NodeProcess]]:
        """All nodes of the plan; none outlives the block."""
        nodes = {node.name: self._process(plan, node) for node in plan.nodes}
        try:
            async with trio.open_nursery() as nursery:
                for node in nodes.values():
                    nursery.start_soon(node.start)
            yield nodes
        finally:
            with trio.CancelScope(shield=True):
                for node in nodes.values():
                    await node.kill()

    def _process(self, plan: Plan, node: PlannedNode) -> NodeProcess:
        process = NodeProcess(
            Path(plan.data_dir_of(node)),
            self.directory / f"{node.name}.log",
            ("--config", str(self.directory / f"{node.name}.toml"), "--http", "off"),
        )
        process.address = str(node.client)
        return process

    async def _publish(self, db: Client, task_status: trio.TaskStatus[None]) -> None:
        """Publish until it is enough, batch after batch; note how long each took."""
        task_status.started()
        number = 0
        while not self._enough:
            events = [
                Event(payload=b"order %d" % n, message_id=f"order-{n}")
                for n in range(number, number + _BATCH)
            ]
            began_s = trio.current_time()
            results = await db.publish_many(TOPIC, events)
            took_ms = round(1000 * (trio.current_time() - began_s))
            self.findings.longest_ms = max(self.findings.longest_ms, took_ms)
            self._acked.update(result.message_id for result in results)
            self.findings.published = len(self._acked)
            number += _BATCH
            await trio.sleep(_PAUSE_S)

    async def _consume(self, db: Client, task_status: trio.TaskStatus[None]) -> None:
        async with db.consume(TOPIC, group=GROUP) as events:
            task_status.started()
            async for batch in events.batches():
                await batch.ack()
                self._consumed.update(event.message_id for event in batch)

    async def _break_down(self, db: Client, nodes: dict[str, NodeProcess]) -> None:
        """Kill the node that leads most, let events flow without it, start it again."""
        await trio.sleep(self.act_s)
        state = await db.cluster.status()
        self.show(state)
        victim = max(state.nodes, key=lambda node: node.led).name
        self.say(f"{len(self._acked)} events are published; kill -9 {victim}, which leads most")
        self.findings.longest_ms = 0
        await nodes[victim].kill()
        await trio.sleep(self.act_s)
        self.show(await db.cluster.status())
        self.say(
            f"without {victim}: {len(self._acked)} events are published, the longest publish took"
            f" {self.findings.longest_ms} ms"
        )
        await nodes[victim].start()
        began_s = trio.current_time()
        await self._healed(db, victim)
        self.findings.healed_ms = round(1000 * (trio.current_time() - began_s))
        self.show(await db.cluster.status())
        self.say(f"{victim} is back: all in sync after {self.findings.healed_ms} ms")

    async def _healed(self, db: Client, name: str) -> None:
        """Wait until a node is alive and no partition lacks a copy."""
        with trio.fail_after(_HEALED_S):
            while True:
                state = await db.cluster.status()
                alive = {node.name for node in state.nodes if node.state == "alive"}
                if name in alive and not state.behind and not state.leaderless:
                    return
                await trio.sleep(_LOOK_S)

    async def _settled(self) -> None:
        """Wait until the group has acked all that was published, or long enough."""
        with trio.move_on_after(_TIMEOUT_S):
            while not self._acked <= self._consumed:  # noqa: ASYNC110 - two tasks change these
                await trio.sleep(_LOOK_S)

    async def _check(self, db: Client) -> None:
        """Read the topic back, event by event."""
        found = [event.message_id async for event in db.replay(TOPIC, by="offset")]
        self.findings.consumed = len(self._acked & self._consumed)
        self.findings.lost = len(self._acked - set(found))
        self.findings.repeated = len(found) - len(set(found))
