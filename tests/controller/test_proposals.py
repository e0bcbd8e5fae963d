"""Changes of in-sync sets: many in one command, and each answered when it is decided for good."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio.testing import MockClock

from chronosdb.node.controller.proposals import Proposer
from chronosdb.raft import (
    AlterPartitions,
    CreateTopic,
    DeleteTopic,
    PartitionChange,
    RegisterNode,
    TopicInfo,
)
from tests.peers.cluster import World, world


@asynccontextmanager
async def proposing(clock: MockClock) -> AsyncIterator[tuple[World, Proposer, TopicInfo]]:
    """A topic of 200 partitions on three nodes, and the proposer of one that follows."""
    async with world(clock, "a", "b", "c") as cluster:
        leader = await cluster.leader()
        for name in "abc":
            await leader.metadata.submit(RegisterNode(name, "h:1", 1))
        await leader.metadata.submit(CreateTopic("t", 200, {"replication": 3}))
        follower = next(m for m in cluster.running if m is not leader)
        await follower.metadata.read()
        proposer = Proposer(follower.metadata)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(proposer.run)
            yield cluster, proposer, follower.metadata.view.topics["t"]
            nursery.cancel_scope.cancel()


async def test_many_proposals_are_few_commands(autojump_clock: MockClock) -> None:
    """As when a node dies, and each leader of 200 wants it out of its in-sync set."""
    async with proposing(autojump_clock) as (cluster, proposer, topic):
        before = (await cluster.leader()).metadata._replica.applied_index
        answers: list[TopicInfo | None] = []

        async def propose(p: int) -> None:
            isr = topic.isrs[p][:2]
            answer = await proposer.propose("t", topic.id, p, topic.versions[p], isr)
            assert answer is not None
            assert answer.isrs[p] == isr
            answers.append(answer)

        async with trio.open_nursery() as nursery:
            for p in range(200):
                nursery.start_soon(propose, p)
        assert len(answers) == 200
        assert (await cluster.leader()).metadata._replica.applied_index - before <= 6


async def test_one_that_is_too_late_spoils_no_other(autojump_clock: MockClock) -> None:
    """It gets to know what the partition has become instead."""
    async with proposing(autojump_clock) as (cluster, proposer, topic):
        replicas, version = topic.replicas[0], topic.versions[0]
        taken = PartitionChange("t", 0, version, replicas[1], replicas, replicas)
        outcomes: dict[int, TopicInfo | None] = {}

        async def propose(p: int) -> None:
            isr = topic.isrs[p][:2]
            outcomes[p] = await proposer.propose("t", topic.id, p, topic.versions[p], isr)

        # The proposer's own node has not seen it yet when the proposals are made.
        leader = await cluster.leader()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leader.metadata.submit, AlterPartitions((taken,)))
            for p in range(3):
                nursery.start_soon(propose, p)
        late, one, two = (outcomes[p] for p in range(3))
        assert late is not None
        assert late.leaders[0] == replicas[1]
        assert late.isrs[0] == replicas
        for p, answer in ((1, one), (2, two)):
            assert answer is not None
            assert answer.isrs[p] == topic.isrs[p][:2]


async def test_one_that_makes_no_sense_spoils_no_other(autojump_clock: MockClock) -> None:
    """It is answered with what is: the partition still has that version."""
    async with proposing(autojump_clock) as (_, proposer, topic):
        outcomes: dict[int, TopicInfo | None] = {}

        async def propose(p: int, isr: tuple[str, ...]) -> None:
            outcomes[p] = await proposer.propose("t", topic.id, p, topic.versions[p], isr)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(propose, 0, ("nobody",))
            nursery.start_soon(propose, 1, topic.isrs[1][:1])
        bad, good = outcomes[0], outcomes[1]
        assert bad is not None
        assert bad.versions[0] == topic.versions[0]
        assert good is not None
        assert good.isrs[1] == topic.isrs[1][:1]


async def test_it_waits_for_as_long_as_nobody_leads_the_metadata(
    autojump_clock: MockClock,
) -> None:
    """A leader must not act on a change that may or may not come to be."""
    async with proposing(autojump_clock) as (cluster, proposer, topic):
        down = [m for m in cluster.running if m.metadata is not proposer._metadata]
        for machine in down:
            await machine.crash()
        outcomes: list[TopicInfo | None] = []

        async def propose() -> None:
            isr = topic.isrs[0][:2]
            outcomes.append(await proposer.propose("t", topic.id, 0, topic.versions[0], isr))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(propose)
            await trio.sleep(40)
            assert outcomes == []
            await cluster.start()
        (answer,) = outcomes
        assert answer is not None
        assert answer.isrs[0] == topic.isrs[0][:2]


async def test_a_topic_that_is_gone_is_gone(autojump_clock: MockClock) -> None:
    """Also if another has its name by then."""
    async with proposing(autojump_clock) as (cluster, proposer, topic):
        metadata = (await cluster.leader()).metadata
        await metadata.submit(DeleteTopic("t"))
        await metadata.submit(CreateTopic("t", 1))
        await proposer._metadata.read()
        assert await proposer.propose("t", topic.id, 0, topic.versions[0], ()) is None
