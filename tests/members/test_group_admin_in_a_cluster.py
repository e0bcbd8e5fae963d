"""Groups of a cluster as an operator handles them, at whichever node: listed, described, reset, deleted."""

from __future__ import annotations

from typing import Any, TypeVar

import pytest
import trio
from trio.testing import MockClock

from chronosdb.node.fanout import messages as f
from chronosdb.raft import DeleteGroup
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ChronosError, Conflict, NotFound, Overloaded, Timeout
from tests.support.cluster_member import assigned, attached, publish
from tests.support.in_cluster import Cluster, cluster
from tests.support.raw_client import RawClient, event

PARTITIONS = 6
A = TypeVar("A", bound=m.Message)


async def ask(nodes: Cluster, node: str, kind: type[m.Message], *fields: Any) -> Any:
    """What a node answers a client."""
    client = await nodes[node].connect()
    try:
        return await client.call(kind, *fields)
    finally:
        await client.close()


async def answer(client: RawClient, request: int, kind: type[A]) -> A:
    """The answer to a request that was posted."""
    reply = await client.reply(request)
    assert isinstance(reply, kind)
    return reply


async def described(nodes: Cluster, node: str) -> m.GroupInfo:
    group = (await ask(nodes, node, m.DescribeGroup, "t", "g")).group
    assert isinstance(group, m.GroupInfo)
    return group


async def used(nodes: Cluster) -> None:
    """Group "g" has acked one event of each partition, and has one more to come; no members."""
    await nodes.topic(partitions=PARTITIONS)
    member = await attached(nodes, "a")
    await assigned(nodes, "a")
    for partition in range(PARTITIONS):
        await publish(nodes, partition, event(f"e{partition}"))
    await member.ack(*await member.drain(500))
    await member.vanish()
    for partition in range(PARTITIONS):
        await publish(nodes, partition, event(f"f{partition}"))
    await trio.sleep(1)


async def names(nodes: Cluster, member: str) -> list[str]:
    """What a new member of "g" is sent."""
    one = await attached(nodes, member)
    await assigned(nodes, member)
    return [d.message_id for d in await one.drain(500)]


async def test_every_node_describes_the_whole_group(clock: MockClock) -> None:
    """Each partition once, each member once, at however many nodes it is."""
    async with cluster(clock) as nodes:
        await used(nodes)
        for name in ("b", "c"):
            await attached(nodes, name, credit=10)
        await assigned(nodes, "b", "c")
        await trio.sleep(1)
        for node in nodes.nodes:
            found = await described(nodes, node)
            rows = [(p.partition, p.position, p.end, p.lag, p.leased) for p in found.partitions]
            assert rows == [(p, 1, 2, 1, 1) for p in range(PARTITIONS)]
            assert [(one.member, one.leased) for one in found.members] == [("b", 3), ("c", 3)]
            assert [one.credits for one in found.members] == [27, 27]
            assert sorted(p for one in found.members for p in one.partitions) == [
                *range(PARTITIONS)
            ]
            assert (found.mode, found.unknown) == ("ordered", [])
            assert found.generation == nodes[node].view.groups["t", "g"].generation
            [row] = (await ask(nodes, node, m.ListGroups, "t")).groups
            assert (row.name, row.members, row.lag, row.unknown) == ("g", 2, PARTITIONS, 0)


async def test_what_nobody_answers_for_is_shown_as_unknown(clock: MockClock) -> None:
    """The rest is told all the same."""
    async with cluster(clock) as nodes:
        await used(nodes)
        info = nodes.any.view.topics["t"]
        lost = info.leaders[0]
        asked = next(leader for leader in info.leaders if leader != lost)
        client = await nodes[asked].connect()
        nodes.hosts.isolate(lost, [name for name in nodes.nodes if name != lost])
        await client.post(m.DescribeGroup(100, "t", "g"))
        await client.post(m.ListGroups(101, "t"))
        group = (await answer(client, 100, m.GroupReply)).group
        unknown = [p for p in range(PARTITIONS) if info.leaders[p] == lost]
        assert group.unknown == unknown
        assert [p.partition for p in group.partitions] == [
            p for p in range(PARTITIONS) if p not in unknown
        ]
        [row] = (await answer(client, 101, m.GroupsReply)).groups
        assert (row.lag, row.unknown) == (PARTITIONS - len(unknown), len(unknown))
        nodes.hosts.heal()


async def test_a_reset_reaches_every_partition_from_any_node(clock: MockClock) -> None:
    """A dry run says the same and does nothing."""
    async with cluster(clock) as nodes:
        await used(nodes)
        would = (await ask(nodes, "n1", m.ResetGroup, "t", "g", "earliest", True, False)).moves
        assert {p.position for p in (await described(nodes, "n2")).partitions} == {1}
        moves = (await ask(nodes, "n2", m.ResetGroup, "t", "g", "earliest", False, False)).moves
        assert moves == would == [m.GroupMove(p, 1, 0, 2) for p in range(PARTITIONS)]
        expected = [name for p in range(PARTITIONS) for name in (f"e{p}", f"f{p}")]
        assert await names(nodes, "b") == expected


async def test_members_at_any_node_stand_in_the_way(clock: MockClock) -> None:
    """Of a reset without force, of deleting the group, and of deleting its topic."""
    async with cluster(clock) as nodes:
        info = await nodes.topic(partitions=PARTITIONS)
        where, asked = info.leaders[0], next(n for n in nodes.nodes if n != info.leaders[0])
        member = await attached(nodes, "a", mode="shared", at=[where])
        for kind, fields in (
            (m.ResetGroup, ("t", "g", "latest", False, False)),
            (m.DeleteGroup, ("t", "g")),
            (m.DeleteTopic, ("t",)),
        ):
            with pytest.raises(Conflict):
                await ask(nodes, asked, kind, *fields)
        await ask(nodes, asked, m.ResetGroup, "t", "g", "latest", False, True)
        await member.detach(where)
        await ask(nodes, asked, m.DeleteGroup, "t", "g")
        await ask(nodes, asked, m.DeleteTopic, "t")


async def test_a_deleted_group_begins_anew_everywhere(clock: MockClock) -> None:
    """And is not found before that."""
    async with cluster(clock) as nodes:
        await used(nodes)
        await ask(nodes, "n3", m.DeleteGroup, "t", "g")
        await trio.sleep(1)
        for node in nodes.nodes:
            with pytest.raises(NotFound):
                await described(nodes, node)
        assert sorted(await names(nodes, "b")) == sorted(
            f"{letter}{p}" for p in range(PARTITIONS) for letter in "ef"
        )


@pytest.mark.slow
async def test_a_deletion_that_a_node_missed_is_done_again(clock: MockClock) -> None:
    """Until all have answered the group is listed; asking again is all there is to do."""
    async with cluster(clock) as nodes:
        await used(nodes)
        info = nodes.any.view.topics["t"]
        lost = info.leaders[0]
        asked = next(leader for leader in info.leaders if leader != lost)
        client = await nodes[asked].connect()
        nodes.hosts.isolate(lost, [name for name in nodes.nodes if name != lost])
        with pytest.raises(ChronosError) as failed:
            await client.call(m.DeleteGroup, "t", "g")
        assert failed.value.retryable
        nodes.hosts.heal()
        await nodes.led()
        assert len((await client.call(m.ListGroups, "t")).groups) == 1
        await client.call(m.DeleteGroup, "t", "g")
        assert (await client.call(m.ListGroups, "t")).groups == []


async def test_nobody_joins_a_group_that_is_being_changed(clock: MockClock) -> None:
    """Not at any node; and only until the claim ends, which it does by itself."""
    async with cluster(clock) as nodes:
        await nodes.topic()
        fanout = nodes["n1"].member.fanout
        claim = f.ClaimGroup("t", "g", "token", 2000, False)
        assert await fanout.everyone(claim, f.Claimed) == dict.fromkeys(
            ("n1", "n2", "n3"), f.Claimed([])
        )
        client = await nodes["n3"].connect()
        with pytest.raises(Overloaded, match="being changed"):
            await client.subscribe("g")
        another = f.ClaimGroup("t", "g", "other", 2000, False)
        answers = await fanout.everyone(another, f.Claimed)
        assert [type(answer) for answer in answers.values()] == [Overloaded] * 3
        await trio.sleep(2)
        await client.subscribe("g")


async def test_the_claims_of_a_node_that_was_removed_keep_nobody_out(clock: MockClock) -> None:
    """It cannot release them any more: nobody hears it."""
    async with cluster(clock, "n1", "n2", "n3", "n4") as nodes, nodes.library() as db:
        await nodes.topic()
        claim = f.ClaimGroup("t", "g", "token", 60_000, False)
        answers = await nodes["n4"].member.fanout.everyone(claim, f.Claimed)
        assert answers == dict.fromkeys(("n1", "n2", "n3", "n4"), f.Claimed([]))
        claimed_s = trio.current_time()
        await nodes["n4"].kill()
        client = await nodes["n3"].connect()
        with pytest.raises(Overloaded, match="being changed"):
            await client.subscribe("g")
        while await db.cluster.remove("n4", force=True):  # noqa: ASYNC110 - as an operator does
            await trio.sleep(0.5)
        await client.subscribe("g")
        assert trio.current_time() < claimed_s + 60


async def test_a_change_whose_claim_has_ended_does_nothing(clock: MockClock) -> None:
    """Somebody may have joined since."""
    async with cluster(clock) as nodes:
        await used(nodes)
        late = f.EndGroup("t", "g", "token", list(range(PARTITIONS)))
        answers = await nodes["n1"].member.fanout.everyone(late, f.GroupEnded)
        assert [type(answer) for answer in answers.values()] == [Overloaded] * 3
        assert {p.position for p in (await described(nodes, "n1")).partitions} == {1}


async def test_a_group_that_was_deleted_under_its_member_is_made_again(clock: MockClock) -> None:
    """Its node hears of the deletion late; the member goes on."""
    async with cluster(clock) as nodes:
        info = await nodes.topic(partitions=1)
        member = await attached(nodes, "a", mode="shared")
        metadata = nodes.any.member.metadata
        await metadata.submit(DeleteGroup("t", "g"))
        await trio.sleep(1)
        assert ("t", "g") in nodes[info.leaders[0]].view.groups
        await publish(nodes, 0, event("e"))
        assert [d.message_id for d in await member.drain(500)] == ["e"]


async def test_a_node_that_is_cut_off_does_not_answer_in_time(clock: MockClock) -> None:
    """Whoever asks it hears that nothing is known, and may ask again."""
    async with cluster(clock) as nodes:
        await nodes.topic()
        nodes.hosts.isolate("n2", ["n1", "n3"])
        fanout = nodes["n1"].member.fanout
        with pytest.raises(Timeout) as failed:
            await fanout.ask("n2", f.ListGroupParts("t"), f.GroupParts, within_ms=500)
        assert failed.value.retryable
        nodes.hosts.heal()


async def test_errors_of_another_node_are_the_errors_of_the_contract(clock: MockClock) -> None:
    """Also of this node, asked the same way; and what nobody answers is no silence."""
    async with cluster(clock) as nodes:
        fanout = nodes["n1"].member.fanout
        for node in ("n1", "n2"):
            with pytest.raises(NotFound, match="no topic"):
                await fanout.ask(node, f.ListGroupParts("none"), f.GroupParts)


@pytest.mark.slow
async def test_a_deletion_waits_for_the_leader_that_needs_longest(
    clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refuses at first; then every partition has forgotten the group."""
    async with cluster(clock) as nodes:
        await used(nodes)
        slow = nodes[nodes.any.view.topics["t"].leaders[0]].member.fanout
        end = slow._handlers[f.EndGroup]
        tries = iter(range(2))

        async def at_the_third_time(peer: str, message: f.EndGroup) -> m.Message:
            if next(tries, None) is not None:
                raise Overloaded("not yet")
            return await end(peer, message)

        monkeypatch.setitem(slow._handlers, f.EndGroup, at_the_third_time)
        await ask(nodes, "n1", m.DeleteGroup, "t", "g")
        assert sorted(await names(nodes, "b")) == sorted(
            f"{letter}{p}" for p in range(PARTITIONS) for letter in "ef"
        )
