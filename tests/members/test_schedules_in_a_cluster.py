"""Recurring schedules of a cluster: asked of any node, carried out by one, into partitions of all."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from chronosdb.node.fanout.messages import PublishOccurrence
from chronosdb.raft import AdvanceSchedules, Command, Result
from chronosdb.wire import encode_batch
from chronosdb.wire import messages as m
from chronosdb.wire.errors import NotFound, Overloaded
from tests.support.cluster_member import Attached, attached
from tests.support.in_cluster import Cluster, Node, cluster
from tests.support.raw_client import Delivery, event
from tests.support.schedule_owner import SECOND_MS, occurrence, spec

PARTITIONS = 4


async def followers(nodes: Cluster) -> list[Node]:
    """The nodes that do not lead the metadata."""
    chief = await nodes.chief()
    return [node for node in nodes.running if node is not chief]


async def begun(nodes: Cluster) -> Attached:
    """A schedule of every second, put at a node that does not carry it out; and a member."""
    await nodes.topic(partitions=PARTITIONS)
    client = await (await followers(nodes))[0].connect()
    await client.call(m.PutSchedule, "s", spec(every_ms=SECOND_MS), False)
    await client.close()
    return await attached(nodes, "a", mode="shared")


def occurrences(got: list[Delivery]) -> list[int]:
    return sorted(occurrence(delivery) for delivery in got)


def assert_all_once(got: list[Delivery]) -> None:
    """Every second from the first to the last, once."""
    found = occurrences(got)
    assert found == list(range(found[0], found[-1] + 1, SECOND_MS))


@pytest.mark.slow
async def test_occurrences_go_to_partitions_of_all_nodes(clock: MockClock) -> None:
    """One every second, on its millisecond, whoever leads the partition."""
    async with cluster(clock) as nodes:
        member = await begun(nodes)
        got = await member.drain(20_000)
        assert_all_once(got)
        assert len(got) in {19, 20}
        assert {d.sent_ms - d.schedule_ts for d in got} == {0}
        leaders = nodes.any.view.topics["t"].leaders
        assert len({leaders[d.partition] for d in got}) > 1


async def test_any_node_is_asked_and_all_see_what_was_done(clock: MockClock) -> None:
    """Put, get, list, pause, resume, delete."""
    async with cluster(clock) as nodes:
        await begun(nodes)
        clients = [await node.connect() for node in nodes.running]
        for client in clients:
            assert (await client.call(m.GetSchedule, "s")).schedule.name == "s"
            assert len((await client.call(m.ListSchedules, "")).schedules) == 1
        for number, client in enumerate(clients):
            paused = number % 2 == 0
            reply = await client.call(m.PauseSchedule, "s", paused)
            assert reply.schedule.paused is paused
            assert (await client.call(m.GetSchedule, "s")).schedule.paused is paused
        await clients[0].call(m.DeleteSchedule, "s")
        for client in clients:
            with pytest.raises(NotFound):
                await client.call(m.GetSchedule, "s")


@pytest.mark.slow
async def test_a_pause_withdraws_what_was_made_in_partitions_of_all_nodes(clock: MockClock) -> None:
    """Nothing fires after it was answered."""
    async with cluster(clock) as nodes:
        member = await begun(nodes)
        await member.drain(10_500)
        client = await (await followers(nodes))[1].connect()
        await client.call(m.PauseSchedule, "s", True)
        assert await member.drain(10_000) == []


@pytest.mark.slow
async def test_another_node_goes_on_where_the_last_one_stopped(clock: MockClock) -> None:
    """Leadership of the metadata moves twice; no occurrence is lost, none comes twice."""
    async with cluster(clock) as nodes:
        member = await begun(nodes)
        got = await member.drain(5_300)
        for _ in range(2):
            other = (await followers(nodes))[0]
            await other.member.metadata.transfer(other.name)
            got += await member.drain(10_000)
        assert_all_once(got)
        assert len(got) >= 24


@pytest.mark.slow
async def test_what_was_made_and_not_noted_is_made_once_by_the_next(
    clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one loses the lead between the logs and the metadata."""
    async with cluster(clock) as nodes:
        member = await begun(nodes)
        got = await member.drain(5_300)
        chief = await nodes.chief()
        change = chief.member.metadata.change

        async def not_noted(command: Command) -> Result:
            if isinstance(command, AdvanceSchedules):
                raise Overloaded("no")
            return await change(command)

        monkeypatch.setattr(chief.member.metadata, "change", not_noted)
        got += await member.drain(10_000)
        other = (await followers(nodes))[0]
        await other.member.metadata.transfer(other.name)
        got += await member.drain(10_000)
        assert_all_once(got)


async def test_a_node_whose_turn_has_passed_makes_nothing_elsewhere(clock: MockClock) -> None:
    """Leaders of partitions take occurrences only from whom they know to lead the metadata."""
    async with cluster(clock) as nodes:
        info = await nodes.topic(partitions=1)
        impostor = next(n for n in await followers(nodes) if n.name != info.leaders[0])
        batch = memoryview(encode_batch([event("s/1/1")]))
        with pytest.raises(Overloaded, match="does not lead"):
            await impostor.member.fanout.ask(
                info.leaders[0], PublishOccurrence("t", 0, batch), m.Done
            )
        client = await nodes[info.leaders[0]].connect()
        assert (await client.get("s/1/1")).state == ""


@pytest.mark.slow
async def test_changes_wait_until_the_last_node_makes_nothing_any_more(clock: MockClock) -> None:
    """But they are answered; and events go on being made meanwhile."""
    async with cluster(clock) as nodes:
        member = await begun(nodes)
        await member.drain(5_300)
        other = (await followers(nodes))[0]
        await other.member.metadata.transfer(other.name)
        started = trio.current_time()
        client = await other.connect()
        await client.call(m.PauseSchedule, "s", True)
        assert 3 < trio.current_time() - started < 7
        await member.drain(0)
        assert await member.drain(10_000) == []


@pytest.mark.slow
async def test_an_outage_longer_than_the_dedup_window_doubles_nothing(
    clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was made and not noted is found in the partitions before their ids are forgotten."""
    async with cluster(clock, seed=3) as nodes:
        await nodes.topic(partitions=PARTITIONS, dedup_window_ms=0)
        chief = await nodes.chief()
        client = await chief.connect()
        await client.call(m.PutSchedule, "s", spec(every_ms=SECOND_MS), False)
        member = await attached(nodes, "a", mode="shared")
        got = await member.drain(5_000)
        change = chief.member.metadata.change

        async def not_noted(command: Command) -> Result:
            if isinstance(command, AdvanceSchedules):
                raise Overloaded("no")
            return await change(command)

        monkeypatch.setattr(chief.member.metadata, "change", not_noted)
        got += await member.drain(4_200)
        await member.ack(*got)
        for node in nodes.running:
            await node.kill()
        await trio.sleep(60)
        await nodes.start()
        again = await attached(nodes, "a", mode="shared")
        got += await again.drain(20_000)
        first: dict[str, tuple[int, int]] = {}
        for delivery in got:
            place = (delivery.partition, delivery.offset)
            assert first.setdefault(delivery.message_id, place) == place
        assert_all_once([*{d.message_id: d for d in got}.values()])
