"""Groups as an operator handles them: described, reset, deleted; and what stale members may do."""

from __future__ import annotations

from itertools import count

import pytest
from trio.testing import MockClock

from chronosdb.client import Client, Conflict, GroupInfo, NotFound
from chronosdb.wire import messages as m
from chronosdb.wire.errors import LeaseLost
from tests.support.in_process import START_MS, Broker, topic_broker
from tests.support.raw_client import Delivery, RawClient, event

PATIENT = {"ack_timeout_ms": 3_600_000, "backoff_ms": 60_000, "backoff_max_ms": 60_000}


async def described(node: Broker) -> GroupInfo:
    async with node.library() as db:
        return await db.group("t", "g")


async def reset(node: Broker, to: str | int, *, force: bool = False) -> list[m.GroupMove]:
    async with node.library() as db:
        return await db.reset_group("t", "g", to=to, force=force)


async def settled_history(client: RawClient, *names: str) -> list[Delivery]:
    """Events that group "g" has been sent and has acked; it has no members afterwards."""
    await client.publish(*(event(name) for name in names))
    subscription = await client.subscribe()
    got = await client.events(len(names))
    await client.ack(*got)
    await client.unsubscribe(subscription)
    return got


async def names(client: RawClient, ms: float = 100) -> list[str]:
    return [d.message_id for d in await client.drain(ms)]


# ---- describe ------------------------------------------------------------------------------------


async def test_a_group_is_described_with_its_lag_leases_and_retries(clock: MockClock) -> None:
    """Lag counts what has fired and is not settled; its age is that of the first of it."""
    async with topic_broker(clock, topic=PATIENT) as (node, client):
        await client.publish(*(event(f"e{i}") for i in range(4)), event("later", START_MS + 10**9))
        number = await client.subscribe(credit=3)
        got = await client.events(3)
        await client.ack(got[1])
        await client.nack(got[2])
        await node.advance(5000)
        found = await described(node)
        [row] = found.partitions
        assert (row.partition, row.position, row.end) == (0, 0, 4)
        assert (row.lag, row.leased, row.retrying) == (3, 1, 1)
        assert (found.lag, found.lag_ms) == (3, 5000)
        assert (found.mode, found.topic, found.name) == ("shared", "t", "g")
        [member] = found.members
        assert (member.client, member.partitions) == ("test", [0])
        assert (member.leased, member.credits) == (1, 0)
        await client.unsubscribe(number)
        alone = await described(node)
        assert (alone.members, alone.generation) == ([], 0)
        assert alone.partitions[0].leased == 0


async def test_a_group_is_described_after_a_restart_before_anyone_joins(clock: MockClock) -> None:
    """Its progress is durable; what was leased is not."""
    async with topic_broker(clock) as (node, client):
        await settled_history(client, "a", "b")
        await client.publish(event("c"))
        await node.restart()
        await node.advance(2000)
        found = await described(node)
        assert [(p.position, p.lag, p.leased) for p in found.partitions] == [(2, 1, 0)]
        assert found.lag_ms >= 2000
        assert found.partitions[0].since_ms < node.now_ms


async def test_the_generation_grows_with_every_change_of_the_members(clock: MockClock) -> None:
    """Joining, leaving, and beginning again are such changes."""
    async with topic_broker(clock, partitions=2) as (node, a):
        b = await node.connect()
        await a.subscribe(mode="ordered")
        generations = [(await described(node)).generation]
        second = await b.subscribe(mode="ordered")
        generations.append((await described(node)).generation)
        await reset(node, "latest", force=True)
        generations.append((await described(node)).generation)
        await b.unsubscribe(second)
        generations.append((await described(node)).generation)
        assert generations == sorted(set(generations))


async def test_groups_are_listed_by_name_with_their_members_and_lag(clock: MockClock) -> None:
    """Only those of the topic."""
    async with topic_broker(clock, partitions=2) as (node, client):
        await client.create_topic("u")
        await client.publish(event("a"), partition=0)
        await client.publish(event("b"), partition=1)
        await client.subscribe("z", mode="ordered", start="latest")
        await client.subscribe("a", credit=0)
        await client.subscribe("other", topic="u")
        async with node.library() as db:
            rows = [(g.name, g.mode, g.members, g.lag) for g in await db.groups("t")]
        assert rows == [("a", "shared", 1, 2), ("z", "ordered", 1, 0)]


async def test_unknown_groups_and_topics_are_not_found(clock: MockClock) -> None:
    """By every request about them."""
    async with topic_broker(clock) as (node, _), node.library() as db:
        for asked in (
            db.groups("nope"),
            db.group("nope", "g"),
            db.group("t", "g"),
            db.reset_group("t", "g", to="latest"),
            db.reset_group("t", "g", to="latest", dry_run=True),
            db.delete_group("t", "g"),
        ):
            with pytest.raises(NotFound):
                await asked


# ---- reset ---------------------------------------------------------------------------------------


async def test_a_group_begins_again_where_it_is_told(clock: MockClock) -> None:
    """At the first event, at what fired from a time on, or at the next one; attempts begin at 1."""
    async with topic_broker(clock) as (node, client):
        await settled_history(client, "a", "b")
        await node.advance(1000)
        await settled_history(client, "c")
        for to, old, new, expected in (
            ("earliest", 3, 0, ["a", "b", "c"]),
            (START_MS + 1000, 0, 2, ["c"]),
            ("latest", 2, 3, []),
        ):
            assert await reset(node, to) == [m.GroupMove(0, old, new, 3 - new)]
            number = await client.subscribe()
            got = await client.drain(100)
            assert [(d.message_id, d.attempt) for d in got] == [(name, 1) for name in expected]
            await client.unsubscribe(number)


async def test_a_dry_run_changes_nothing(clock: MockClock) -> None:
    """It says what would be, also while there are members."""
    async with topic_broker(clock) as (node, client), node.library() as db:
        await settled_history(client, "a", "b")
        await client.subscribe()
        moves = await db.reset_group("t", "g", to="earliest", dry_run=True)
        assert moves == [m.GroupMove(0, 2, 0, 2)]
        assert await names(client) == []
        assert (await db.group("t", "g")).partitions[0].position == 2


async def test_a_reset_survives_a_power_cut(clock: MockClock) -> None:
    """With what was settled after it, and without what was settled or tried before it (I7)."""
    async with topic_broker(clock, topic=PATIENT) as (node, client):
        await settled_history(client, "a", "b", "c")
        await reset(node, "earliest")
        number = await client.subscribe(credit=2)
        first, second = await client.events(2)
        await client.ack(first)
        await client.nack(second, delay_ms=0)
        await client.unsubscribe(number)
        await reset(node, "earliest")
        await client.subscribe(credit=1)
        await client.ack(await client.next_event())
        await node.crash()
        await node.start()
        await client.reconnect()
        await client.subscribe()
        got = await client.drain(100)
        assert [(d.message_id, d.attempt) for d in got] == [("b", 1), ("c", 1)]


async def test_a_group_with_members_is_reset_only_by_force(clock: MockClock) -> None:
    """Then its members go on from there, though they hold deliveries of before."""
    async with topic_broker(clock, topic=PATIENT) as (node, client):
        await client.publish(event("a"), event("b"))
        await client.subscribe()
        old = await client.events(2)
        await client.ack(old[0])
        with pytest.raises(Conflict, match=r"members now \(1\)"):
            await reset(node, "earliest")
        await reset(node, "earliest", force=True)
        again = await client.events(2)
        assert [(d.message_id, d.attempt) for d in again] == [("a", 1), ("b", 1)]
        await client.ack(*again)
        assert (await described(node)).lag == 0


async def test_what_was_sent_before_a_reset_does_not_count_after_it(clock: MockClock) -> None:
    """Neither its ack, as long as it was not sent again, nor its nack or extension."""
    async with topic_broker(clock, topic=PATIENT) as (node, client):
        await client.publish(event("a"), event("b"))
        await client.subscribe(credit=2)
        old = await client.events(2)
        await reset(node, "earliest", force=True)
        await client.ack(*old)
        with pytest.raises(LeaseLost):
            await client.nack(old[0])
        with pytest.raises(LeaseLost):
            await client.extend(old[0], 1000)
        assert (await described(node)).lag == 2
        await client.post(m.Credit(old[0].subscription, 2))
        assert await names(client) == ["a", "b"]


async def test_an_ack_that_waits_for_the_disk_with_a_reset_does_not_count(
    clock: MockClock,
) -> None:
    """Whichever is in the log first; nor does an attempt that failed meanwhile."""
    async with topic_broker(clock, topic=PATIENT) as (node, client):
        await client.publish(event("a"), event("b"))
        await client.subscribe(credit=2)
        old = await client.events(2)
        operator = await node.connect()
        with node.threads.held("_write"):
            await operator.post(m.ResetGroup(1, "t", "g", "earliest", False, True))
            await operator.drain(1)
            ack = await client.post_ack(old[0])
            await client.post(m.Nack(99, old[1].subscription, 0, 1, 1, None, ""))
            await client.drain(1)
        await operator.reply(1)
        await client.reply(ack)
        await client.reply(99)
        await client.post(m.Credit(old[0].subscription, 2))
        got = await client.drain(1000)
        assert [(d.message_id, d.attempt) for d in got] == [("a", 1), ("b", 1)]
        await node.crash()
        await node.start()
        assert (await described(node)).partitions[0].retrying == 0


async def test_a_dead_letter_of_before_a_reset_settles_nothing_after_it(clock: MockClock) -> None:
    """The event is a dead letter, and is sent again; failing again it is a second one."""
    async with topic_broker(clock, topic={**PATIENT, "max_attempts": 1}) as (node, client):
        await client.publish(event("a"))
        await client.create_topic("t.dlq")
        await client.subscribe(credit=1)
        with node.threads.held("_write"):
            await client.post(m.Nack(99, (await client.next_event()).subscription, 0, 0, 1, 0, ""))
            await client.drain(1)
            operator = await node.connect()
            await operator.post(m.ResetGroup(1, "t", "g", "earliest", False, True))
            await operator.drain(1)
        await operator.reply(1)
        assert (await described(node)).lag == 1
        await client.post(m.Credit(2, 1))
        number = await client.subscribe(credit=1)
        await client.nack(await client.next_event())
        await client.unsubscribe(number)
        async with node.library() as db:
            assert [letter.message_id async for letter in db.dlq.list("t")] == ["a", "a"]


# ---- delete --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["at once", "restart", "crash"])
async def test_a_deleted_group_is_gone_and_its_name_begins_anew(clock: MockClock, how: str) -> None:
    """In service, after a restart, which saves the views, and after a power cut, which loses them."""
    async with topic_broker(clock, partitions=2) as (node, client), node.library() as db:
        await settled_history(client, "a", "b")
        await node.restart()  # a row of the group is in the views now
        await client.reconnect()
        await db.delete_group("t", "g")
        if how == "restart":
            await node.restart()
        if how == "crash":
            await node.crash()
            await node.start()
        await client.reconnect()
        assert await db.groups("t") == []
        await client.subscribe(mode="ordered")
        assert await names(client) == ["a", "b"]


async def test_a_group_with_members_is_not_deleted(clock: MockClock) -> None:
    """It goes on as if nobody had asked."""
    async with topic_broker(clock) as (node, client), node.library() as db:
        await client.subscribe()
        with pytest.raises(Conflict, match="stop them first"):
            await db.delete_group("t", "g")
        await client.publish(event("a"))
        await client.ack(await client.next_event())


async def test_a_deletion_that_was_cut_short_can_be_done_again(clock: MockClock) -> None:
    """Power is cut at each disk call in turn: the group is there, or half there, or gone."""
    async with topic_broker(clock, partitions=2) as (node, client):
        cuts = count(1)
        whole = False
        while not whole:
            await client.subscribe("g")
            await client.close()
            node.disk.cut_power_at(next(cuts))
            await _try_to_delete(node)
            whole = node.disk.armed
            await node.crash()
            await node.start()
            async with node.library() as db:
                if await db.groups("t"):
                    await db.delete_group("t", "g")
                assert await db.groups("t") == []
            await client.reconnect()


async def _try_to_delete(node: Broker) -> None:
    """Asks for it, and looks no further: the machine may be about to lose its power."""
    operator = await node.connect()
    await operator.post(m.DeleteGroup(1, "t", "g"))
    await node.advance(1)


async def test_whoever_joins_while_a_group_is_deleted_joins_a_new_one(clock: MockClock) -> None:
    """One after the other: nobody is in a group that is not there."""
    async with topic_broker(clock) as (node, client):
        await settled_history(client, "a")
        operator = await node.connect()
        with node.threads.held("_write"):
            await operator.post(m.DeleteGroup(1, "t", "g"))
            await operator.drain(1)
            await client.post(m.Subscribe(90, 90, "t", "g", "ordered", "earliest", 10))
            await client.drain(1)
        await operator.reply(1)
        await client.reply(90)
        assert await names(client) == ["a"]
        assert (await described(node)).mode == "ordered"


# ---- members -------------------------------------------------------------------------------------


async def moved_partition(
    node: Broker, old: RawClient, new: RawClient
) -> tuple[Delivery, RawClient]:
    """A delivery that `old` holds of a partition that has moved to `new`."""
    await old.subscribe(mode="ordered")
    for partition in range(2):
        await old.publish(event(f"e{partition}"), partition=partition)
    held = {d.partition: d for d in await old.events(2)}
    await new.subscribe(mode="ordered")
    info = await described(node)
    [moved] = info.members[1].partitions
    assert [member.leased for member in info.members] == [2, 0]
    return held[moved], new


async def test_what_a_member_holds_of_a_moved_partition_stays_with_it(clock: MockClock) -> None:
    """No second lease; its ack still counts (I8)."""
    async with topic_broker(clock, partitions=2, topic=PATIENT) as (node, old):
        held, new = await moved_partition(node, old, await node.connect())
        assert await new.drain(60_000) == []
        await old.ack(held)
        assert await new.drain(10**7) == []


async def test_a_moved_delivery_comes_to_the_new_owner_when_it_times_out(clock: MockClock) -> None:
    """It cannot be extended: the partition is another's."""
    settings = {"ack_timeout_ms": 30_000, "backoff_ms": 0, "backoff_max_ms": 0}
    async with topic_broker(clock, partitions=2, topic=settings) as (node, old):
        held, new = await moved_partition(node, old, await node.connect())
        with pytest.raises(LeaseLost, match="moved to another member"):
            await old.extend(held, 3_600_000)
        again = await new.next_event(within_ms=40_000)
        assert (again.partition, again.position, again.attempt) == (held.partition, 0, 2)
        with pytest.raises(LeaseLost):
            await old.nack(held)


async def test_a_moved_delivery_that_is_nacked_comes_to_the_new_owner(clock: MockClock) -> None:
    """Giving back early spares everybody the timeout."""
    async with topic_broker(clock, partitions=2, topic=PATIENT) as (node, old):
        held, new = await moved_partition(node, old, await node.connect())
        await old.nack(held, delay_ms=0)
        assert (await new.next_event(within_ms=100)).position == held.position


async def test_a_member_may_begin_without_credit(clock: MockClock) -> None:
    """It is sent nothing until it grants some, and then exactly so much."""
    async with topic_broker(clock) as (_, client):
        number = await client.subscribe(credit=0)
        await client.publish(*(event(f"e{i}") for i in range(5)))
        assert await names(client, 10_000) == []
        await client.post(m.Credit(number, 3))
        assert await names(client) == ["e0", "e1", "e2"]


async def test_the_library_speaks_of_groups_as_the_protocol_does(clock: MockClock) -> None:
    """Names are checked before anything is sent; a restart in between does not show."""

    async def consume(db: Client) -> None:
        async with db.consume("t", group="g") as events:
            async for delivery in events:
                await delivery.ack()
                return

    async with topic_broker(clock) as (node, client), node.library() as db:
        await client.publish(event("a"))
        await consume(db)
        await node.restart()
        assert (await db.group("t", "g")).lag == 0
        assert [g.name for g in await db.groups("t")] == ["g"]
        await db.delete_group("t", "g")
        with pytest.raises(ValueError, match="group"):
            await db.group("t", "no such name")
        with pytest.raises(ValueError, match="start must be"):
            await db.reset_group("t", "g", to="yesterday")
