"""Somebody who operates the cluster while everything else goes wrong: moves leaders and copies, replaces nodes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from typing import Final, final

import trio

from chronosdb.client.operating import Operating
from chronosdb.wire.errors import ChronosError
from tests.proof.recorded import Recorded
from tests.simulation.keeper import Keeper
from tests.simulation.nemesis import Nemesis
from tests.simulation.people import Person
from tests.simulation.traces import copies_of
from tests.simulation.world import TOPIC, World

#: How often an answer is asked for that may change.
_LOOK_S: Final = 0.5


@final
class Operator(Person):
    """Asks one thing after the other; what it asks for may be refused, and what was begun is ended."""

    has_to_finish = True

    def __init__(self, world: World, name: str, nemesis: Nemesis) -> None:
        super().__init__(world, name)
        self._nemesis = nemesis
        self._topics = count()
        #: Whom a node was drained for, and that it is to be let alone again.
        self._drained: str | None = None
        #: The node that is to go, and the one that comes for it, until it has gone.
        self._leaving: Keeper | None = None
        self._coming = ""
        self._replaced = False

    async def work(self) -> None:
        """See `Person.work`."""
        async with self.world.connected(self.name, 5.0) as db:
            while await self.pause(self.world.swarm.operated_s):
                with suppress(ChronosError):
                    await self._operate(db)
        async with self.world.connected(self.name, 5.0) as db:
            while not await self._tidied_up(db.client.cluster):  # noqa: ASYNC110 - nobody tells
                await trio.sleep(_LOOK_S)

    async def _operate(self, db: Recorded) -> None:
        cluster, to = db.client.cluster, self.random.choice(self.world.computers).name
        partition = self.random.randrange(self.world.swarm.partitions)
        deeds: list[tuple[float, str, Callable[[], Awaitable[object]]]] = [
            (4, "transfer", lambda: cluster.transfer(to, topic=TOPIC, partition=partition)),
            (2, "transfer metadata", lambda: cluster.transfer(to)),
            (2, "rebalance", cluster.rebalance),
            (1, "cancel moves", lambda: cluster.rebalance(cancel=True)),
            (2, "set replication", lambda: self._set_replication(cluster)),
            (2, "drain", lambda: self._drain(cluster, to)),
            (2, "create topic", lambda: self._create_topic(db)),
            (2, "replace", lambda: self._replace(cluster)),
        ]
        [(_, what, deed)] = self.random.choices(deeds, [weight for weight, _, _ in deeds])
        self.world.trace.fault(f"operator: {what}", to)
        try:
            await deed()
        except ChronosError as error:
            self.world.trace.say("refused:", error)
            raise

    async def _set_replication(self, cluster: Operating) -> None:
        least = max(2, self.world.swarm.topic["min_insync"])
        await cluster.set_replication(TOPIC, self.random.randint(least, 3))

    async def _create_topic(self, db: Recorded) -> None:
        """What was created is there, and takes events."""
        name = f"extra-{next(self._topics)}"
        await db.create_topic(name, self.random.choice((1, 3)))
        await db.publish(name, b"first", message_id="first")

    async def _drain(self, cluster: Operating, node: str) -> None:
        if self._drained is not None:
            await cluster.drain(self._drained, undo=True)
            self._drained = None
        elif self._leaving is None:
            self._drained = node
            await cluster.drain(node)

    # ---- replacing a node --------------------------------------------------------------------

    async def _replace(self, cluster: Operating) -> None:
        """A node goes, by its own will or with its disk, and another comes under another name."""
        if self._leaving is None and not self._replaced and self._drained is None:
            self._replaced = True
            self._coming = self.world.next_name()
            await self._begin_replacing(cluster)
        elif self._leaving is not None:
            await self._go_on_replacing(cluster)

    async def _begin_replacing(self, cluster: Operating) -> None:
        self._leaving = keeper = self.random.choice(self._nemesis.keepers)
        keeper.leaves = True
        min_insync: int = self.world.swarm.topic["min_insync"]
        if self.random.random() < 0.5 and min_insync > 1 and self._others_hold_all(keeper):
            self.world.trace.say(keeper.computer.name, "is gone with its disk")
            # What was on two disks is on one until it has been copied.
            self.world.copies = 1
            await self._nemesis.dismiss(keeper)
        await self._go_on_replacing(cluster)

    def _others_hold_all(self, keeper: Keeper) -> bool:
        """Whether every other replica has its copy, so that two more are left.

        A node that was down when a topic was created cannot say later that its copy was never there, or was lost.
        """
        view = self.world.metadata_view()
        held = {
            (one.name, identity.topic, identity.partition)
            for one in self.world.computers
            for identity, _, _ in copies_of(one)
        }
        return view is not None and held.issuperset(
            (node, topic.name, partition)
            for topic in view.topics.values()
            for partition, replicas in enumerate(topic.replicas)
            for node in replicas
            if node != keeper.computer.name
        )

    async def _go_on_replacing(self, cluster: Operating) -> None:
        keeper = self._leaving
        assert keeper is not None
        name = keeper.computer.name
        if self._coming:
            await cluster.add(self._coming, self.world.peer_address(self._coming))
            coming, self._coming = self._coming, ""
            await self._nemesis.hire(self.world.add_computer(coming, without=name))
        gone = keeper not in self._nemesis.keepers
        if await cluster.remove(name, force=gone) == 0:
            self.world.trace.say(name, "is removed")
            if not gone:
                await self._nemesis.dismiss(keeper)
            self._leaving = None

    async def _tidied_up(self, cluster: Operating) -> bool:
        """Whether no node is on its way, in or out, and everybody may have everything."""
        try:
            if self._leaving is not None:
                await self._go_on_replacing(cluster)
            if self._drained is not None:
                await cluster.drain(self._drained, undo=True)
                self._drained = None
            if self._leaving is None:
                # Earlier it would cancel what has to move before the node can go.
                await cluster.rebalance(cancel=True)
        except ChronosError as error:
            self.world.trace.say("not tidied up yet:", error)
        return self._leaving is None and self._drained is None
