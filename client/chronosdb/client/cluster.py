"""Requests to the node that can answer them.

What names a partition goes to the node that leads it; everything else to any node. Who leads is what
the nodes said last (`Leaders`), which may be out of date: a request that fails for that reason is the
reason to ask again (`Lookout`), and goes to the new leader within its one deadline. A client of a
single node does none of this: nobody leads anything by name there, and any node is the one there is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Final, TypeAlias, TypeVar

import anyio
from anyio.abc import TaskGroup

from chronosdb.client.connection import Ask, Connection
from chronosdb.client.leaders import Leaders, Partition
from chronosdb.client.lookout import Lookout
from chronosdb.client.nodes import REACH_S, Nodes
from chronosdb.client.reply import Reply
from chronosdb.client.retry import Retry
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ChronosError, ConnectionLost, NotFound, NotLeader, Overloaded

R = TypeVar("R")

#: While a partition has no leader, it is looked for this often at least: elections take about a second.
LOOK_S: Final = 0.25
#: A leader that has not answered within this time may be one no more; it is asked about.
DOUBT_S: Final = 1.0

#: A request under way: whom it was sent to, and its answer.
Asked: TypeAlias = tuple[Connection, Reply]


class Cluster:
    """The nodes as one: requests, each with one deadline over all its attempts."""

    def __init__(self, nodes: Nodes, retry: Retry, tasks: TaskGroup) -> None:
        self.retry = retry
        self.leaders = Leaders()
        self._nodes = nodes
        self._lookout = Lookout(self.leaders, nodes, tasks)
        nodes.on_leaders_changed = self._lookout.told

    @property
    def clustered(self) -> bool:
        """Whether there may be other nodes than the one that answers."""
        return self._nodes.clustered

    @property
    def closed(self) -> bool:
        """Whether the client is closed: nothing will be answered any more."""
        return self._nodes.closed

    # ---- requests ----------------------------------------------------------------------------

    async def call(self, ask: Ask, expected: type[R], partition: Partition | None = None) -> R:
        """The answer to one request, of the leader of `partition`, or without one of any node.

        It is asked again within the deadline where that may help.

        Raises:
            ChronosError: see `Retry.run`.
        """
        if partition is not None:
            return await self._finish(partition, ask, None, expected)

        async def attempt() -> R:
            return await (await self._nodes.any()).ask(ask).wait(expected)

        return await self.retry.run(attempt)

    async def call_all(
        self, asks: Iterable[tuple[Partition, Ask, int]], expected: type[R], budget: int
    ) -> list[R]:
        """The answers of the partitions' leaders to many requests, in order; each comes with its size.

        Requests are sent in order without waiting for answers, as long as those in flight are
        together no larger than `budget`; one at least. Each has a deadline of its own.

        Raises:
            ChronosError: of the first request that failed. Later ones may have succeeded.
        """
        answers: list[R] = []
        flying: deque[tuple[Partition, Ask, Asked | None, int]] = deque()
        size = 0

        async def land() -> int:
            partition, ask, asked, nbytes = flying.popleft()
            answers.append(await self._finish(partition, ask, asked, expected))
            return nbytes

        for partition, ask, nbytes in asks:
            while flying and size + nbytes > budget:
                size -= await land()
            if self._nodes.clustered:
                connection = self._open(partition) or await self._soon(partition)
            else:
                connection = self._nodes.some
            asked = None if connection is None else (connection, connection.ask(ask))
            flying.append((partition, ask, asked, nbytes))
            size += nbytes
        while flying:
            await land()
        return answers

    # ---- connections -------------------------------------------------------------------------

    async def connection(self, partition: Partition) -> Connection:
        """A connection to the leader of a partition.

        Raises:
            ChronosError: there is none now.
        """
        while address := self.leaders.of(partition):
            # Anew each time: while we wait for one node another may become the leader.
            if (connection := self._nodes.at(address)) is not None:
                return connection
            await self._nodes.changed.wait()
        return await self._nodes.any()

    async def node(self, address: str) -> Connection:
        """A connection to the node at `address`; see `Nodes.node`."""
        return await self._nodes.node(address)

    # ---- who leads ---------------------------------------------------------------------------

    def learn(self, reply: m.TopicReply) -> None:
        """A node has described a topic."""
        self._lookout.learn(reply)

    async def refresh(self, topic: str) -> None:
        """Find out who leads a topic's partitions now, if that can be done; see `Lookout.refresh`."""
        await self._lookout.refresh(topic)

    async def pause(self, partition: Partition, error: ChronosError, delay_s: float) -> None:
        """Wait before another attempt after `error`, and find out meanwhile where to make it."""
        if not self.clustered:
            await anyio.sleep(delay_s)
            return
        leaderless = not isinstance(error, Overloaded) or "leader" in error.details
        with anyio.move_on_after(min(delay_s, LOOK_S) if leaderless else delay_s):
            await self.leaders.changed.wait()
        if leaderless:
            await self.refresh(partition.topic)

    async def may_come(self, partition: Partition, error: NotFound) -> bool:
        """Whether a node that lacks a topic is only late: another one knows it."""
        if not self.clustered or error.details:
            return False
        await self.refresh(partition.topic)
        return partition.number < len(self.leaders.all(partition.topic))

    # ---- attempts ----------------------------------------------------------------------------

    async def answer(
        self, partition: Partition, asked: Connection, reply: Reply, expected: type[R]
    ) -> R:
        """The answer of the node behind `asked`, as long as it may be the one to give it.

        Raises:
            NotLeader: it is silent, and others say that it leads this partition no more.
            ChronosError: see `Reply.wait`.
        """
        if not self.clustered:
            return await reply.wait(expected)
        doubt_s = DOUBT_S
        while True:
            with anyio.move_on_after(doubt_s):
                return await reply.wait(expected)
            doubt_s = LOOK_S
            await self.refresh(partition.topic)
            leader = self.leaders.of(partition)
            if leader not in {"", asked.welcome.address} and not reply.resolved:
                raise NotLeader(
                    f"no answer of {asked.welcome.address}, which leads partition"
                    f" {partition.number} no more; the outcome is unknown"
                )

    def _open(self, partition: Partition) -> Connection | None:
        """The open connection to a partition's leader, if there is one."""
        address = self.leaders.of(partition)
        if not address:
            return self._nodes.some
        with suppress(ChronosError):
            return self._nodes.at(address)
        return None

    async def _soon(self, partition: Partition) -> Connection | None:
        """As `_open`, but waits for a connection that is just being made."""
        with suppress(ChronosError), anyio.move_on_after(REACH_S):
            return await self.connection(partition)
        return None

    async def _finish(
        self, partition: Partition, ask: Ask, first: Asked | None, expected: type[R]
    ) -> R:
        """The answer to one request; `first` is an attempt that is already under way."""
        attempts = iter((first,))

        async def attempt() -> R:
            asked = next(attempts, None)
            if self._nodes.clustered:
                return await self._attempt(partition, ask, asked, expected)
            _, reply = asked or _asked(await self._nodes.any(), ask)
            return await reply.wait(expected)

        return await self.retry.run(attempt, partial(self.pause, partition))

    async def _attempt(
        self, partition: Partition, ask: Ask, asked: Asked | None, expected: type[R]
    ) -> R:
        connection, reply = asked or _asked(await self.connection(partition), ask)
        try:
            return await self.answer(partition, connection, reply, expected)
        except (NotLeader, ConnectionLost) as error:
            elsewhere = self._elsewhere(partition, connection.welcome.address, error)
            if not elsewhere or not error.retryable:
                raise
        except NotFound as error:
            error.retryable = await self.may_come(partition, error)
            raise
        connection, reply = _asked(await self._nodes.node(elsewhere), ask)
        return await self.answer(partition, connection, reply, expected)

    def _elsewhere(self, partition: Partition, asked: str, error: ChronosError) -> str:
        """Which other node to ask without a wait, after `asked` has failed; "": none is known."""
        hint = error.details.get("leader")
        if isinstance(hint, str) and hint:
            # Who does not lead says who does. It may know better than we do, or worse.
            self._lookout.told(partition.topic)
            return hint
        leader = self.leaders.of(partition)
        return "" if leader == asked else leader


def _asked(connection: Connection, ask: Ask) -> Asked:
    return connection, connection.ask(ask)
