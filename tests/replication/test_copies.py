"""Three copies of a partition: publishing, a leader that is lost, two that think they lead."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from chronosdb.node.partition.acks import Acks
from chronosdb.node.partition.committer import CommitOptions
from chronosdb.node.partition.proposals import Placement
from chronosdb.node.partition.records import Kind
from chronosdb.node.replication.options import ReplicationOptions
from chronosdb.wire.errors import ChronosError, NotLeader
from tests.replication.cluster import FIRST, START_MS, batch, publish, world


async def test_what_is_published_is_on_every_copy(autojump_clock: MockClock) -> None:
    """Byte for byte."""
    async with world(autojump_clock, "a", "b", "c") as w:
        leader = await w.leader()
        for n in range(20):
            assert await publish(leader, f"id-{n}") == Placement(n)
        await w.settled()
        logs = [[bytes(r.body) for r in host.records()] for host in w.running]
        assert logs[0] == logs[1] == logs[2]
        assert len(logs[0]) == 1 + 2 * 20


async def test_the_next_leader_has_what_was_acknowledged(autojump_clock: MockClock) -> None:
    """At once, and knows an id that was published before; who was lost comes back into the ISR."""
    async with world(autojump_clock, "a", "b", "c") as w:
        leader = await w.leader()
        for n in range(20):
            assert await publish(leader, f"id-{n}") == Placement(n)
        await w["a"].crash()
        began = trio.current_time()
        assert await w.elect() in {"b", "c"}
        leader = await w.leader()
        again = await publish(leader, "id-3")
        assert isinstance(again, Placement)
        assert again == Placement(3, [3], [True])
        assert await publish(leader, "new") == Placement(20)
        assert trio.current_time() - began < 0.5
        await w["a"].start()
        await w.settled()
        assert w.assignments[FIRST].isr == ("a", "b", "c")


async def test_what_only_the_old_leader_wrote_is_cut_back(autojump_clock: MockClock) -> None:
    """Whoever waited for it is told to ask again; the id is free."""
    async with world(autojump_clock, "a", "b", "c") as w:
        leader = await w.leader()
        assert await publish(leader, "before") == Placement(0)
        w.cut_off("a")
        outcomes: dict[str, Any] = {}
        async with trio.open_nursery() as nursery:

            async def wait(name: str) -> None:
                outcomes[name] = await publish(leader, name)

            nursery.start_soon(wait, "lost-1")
            await trio.sleep(0.1)
            nursery.start_soon(wait, "lost-2")  # it queues behind the first
            await trio.sleep(0.1)
            w.unheard = frozenset("a")
            w.deaf = frozenset("a")
            assert await w.elect() in {"b", "c"}
            await trio.sleep(0.2)
            (new,) = [partition for _, partition in w.leading() if partition is not leader]
            assert await publish(new, "lost-1") == Placement(1)
            w.hosts.heal()
        assert [type(outcome) for outcome in outcomes.values()] == [NotLeader, NotLeader]
        with pytest.raises(NotLeader):
            leader.publish(batch("late"), lambda _: None)
        await w.settled()
        assert len({tuple(bytes(r.body) for r in host.records()) for host in w.running}) == 1


async def test_nothing_is_visible_before_it_is_committed(autojump_clock: MockClock) -> None:
    """Neither events nor positions, not on the leader either (I11); what is due waits with it."""
    async with world(autojump_clock, "a", "b", "c") as w:
        leader = await w.leader()
        assert await publish(leader, "seen", due_ms=START_MS + 3_600_000) == Placement(0)
        w.cut_off("a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish, leader, "unseen")
            await trio.sleep(1)
            committer = leader.committer
            assert (committer.end_offset, committer.end_position) == (1, 0)
            assert leader.find(b"unseen") is None
            assert leader.history().end_lsn < leader._log.end_lsn
            w.hosts.heal()
        assert (committer.end_offset, committer.end_position) == (2, 1)


@pytest.mark.parametrize(("acks", "copies"), [(Acks.LEADER, 1), (Acks.QUORUM, 2), (Acks.ALL, 3)])
async def test_a_publisher_waits_for_as_many_copies_as_it_wants(
    autojump_clock: MockClock, acks: Acks, copies: int
) -> None:
    """Not for one more."""
    async with world(autojump_clock, "a", "b", "c") as w:
        leader = await w.leader()
        await w.settled()
        for enough in (False, True):
            reached = copies if enough else copies - 1
            for name in "bc"[max(0, reached - 1) :]:
                w.hosts.cut("a", name)
            placed = None
            with trio.move_on_after(2):
                placed = await publish(leader, f"{enough}", acks=int(acks))
            assert (placed is not None) == (enough or acks is Acks.LEADER)
            w.hosts.heal()
            await w.settled()


async def test_a_topic_may_say_what_its_publishers_wait_for(autojump_clock: MockClock) -> None:
    """Unless they say it themselves."""
    async with world(autojump_clock, "a", "b", commit=CommitOptions(acks=Acks.LEADER)) as w:
        leader = await w.leader()
        w.cut_off("b")
        with trio.fail_after(1):
            assert await publish(leader, "one") == Placement(0)
        with trio.move_on_after(1) as patience:
            await publish(leader, "two", acks=int(Acks.QUORUM))
        assert patience.cancelled_caught


async def test_of_two_that_think_they_lead_one_commits(autojump_clock: MockClock) -> None:
    """The other is refused, and leads no more, before the metadata have told it."""
    async with world(autojump_clock, "a", "b", "c") as w:
        old = await w.leader()
        w.deaf = w.unheard = frozenset("a")
        winner = await w.elect()
        with trio.fail_after(1):
            outcome = await publish(old, "late")
        assert isinstance(outcome, NotLeader)
        leader = await w.leader()
        assert w.leading()[0][0].name == winner
        assert await publish(leader, "late") == Placement(0)
        assert w["a"].life is not None
        assert (1, 0, 1) in w["a"].life.lease.refusals


async def test_a_leader_that_was_restarted_does_not_lead_its_old_epoch(
    autojump_clock: MockClock,
) -> None:
    """What it sent in it may be on other disks, and not on its own."""
    async with world(autojump_clock, "a", "b", "c") as w:
        await w.leader()
        await w["a"].crash()
        await w["a"].start()
        await trio.sleep(5)
        assert w.leading() == []
        await w.elect(prefer="a")
        assert w.assignments[FIRST].epoch == 2
        await w.leader()


async def test_who_is_elected_in_an_epoch_that_it_promised_before_a_restart_asks_for_another(
    autojump_clock: MockClock,
) -> None:
    """It cannot know that it has not led it, and nobody else would find out that it does not."""
    async with world(autojump_clock, "a", "b", "c") as w:
        await w.leader()
        await w.fence(FIRST, 2)
        await w["b"].crash()
        await w["b"].start()
        w.change(FIRST, leader="b", epoch=2)
        await trio.sleep(5)
        assert w.leading() == []
        assert w["b"].life is not None
        assert (1, 0, 2) in w["b"].life.lease.refusals


async def test_a_restarted_leader_whose_metadata_are_old_does_not_lead_again(
    autojump_clock: MockClock,
) -> None:
    """It had promised the epoch that it was elected for."""
    async with world(autojump_clock, "a", "b", "c") as w:
        await w.leader()
        assert await w.elect(prefer="a") == "a"
        await w.leader()
        await w["a"].crash()
        new = w.assignments[FIRST]
        w.assignments[FIRST] = replace(new, epoch=1, version=1)
        await w["a"].start()
        w.assignments[FIRST] = new
        w.tell(FIRST)
        await trio.sleep(5)
        assert w.leading() == []


async def test_who_follows_knows_what_the_leader_knows(autojump_clock: MockClock) -> None:
    """Timers that fire with the next leader at their time, positions, ids, groups."""
    async with world(autojump_clock, "a", "b", "c") as w:
        leader = await w.leader()
        await publish(leader, "now")
        await publish(leader, "soon", due_ms=START_MS + 20_000)
        await publish(leader, "later", due_ms=START_MS + 40_000)
        done: list[ChronosError | None] = []
        leader.create_group("g", "earliest", done.append)
        await trio.sleep(1)
        assert done == [None]
        await w["a"].crash()
        await w.elect()
        leader = await w.leader()
        assert leader.committer.end_position == 1
        assert leader.start_position("earliest") == 0
        assert "g" in leader.state.groups
        assert len(leader.state.timers.pending) == 2
        await trio.sleep(20.01 - trio.current_time())
        assert leader.committer.end_position == 2
        fired = leader.reader.fired(1, 2)
        assert fired.due_ms.tolist() == [START_MS + 20_000]


async def test_a_follower_that_lags_does_not_stop_the_others(autojump_clock: MockClock) -> None:
    """Its disk hangs; then it catches up."""
    async with world(autojump_clock, "a", "b", "c") as w:
        leader = await w.leader()
        assert w["c"].life is not None
        w["c"].life.threads.delay_s = lambda: 20.0
        with trio.fail_after(1):
            for n in range(10):
                assert await publish(leader, f"{n}") == Placement(n)
        w["c"].life.threads.delay_s = float
        await w.settled()


async def test_a_record_larger_than_a_message_is_sent_in_pieces(autojump_clock: MockClock) -> None:
    """And arrives whole, also where it begins again in the middle."""
    options = ReplicationOptions(append_bytes=1000, piece_bytes=700)
    async with world(autojump_clock, "a", "b", "c", options=options) as w:
        leader = await w.leader()
        assert await publish(leader, "large", payload=bytes(range(256)) * 40) == Placement(0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish, leader, "cut")
            await trio.lowlevel.checkpoint()
            w.hosts.cut("b", "a")
            await trio.sleep(5)
            w.hosts.heal()
        await w.settled()
        assert len({tuple(bytes(r.body) for r in host.records()) for host in w.running}) == 1


async def test_a_follower_that_was_restarted_hears_what_is_committed(
    autojump_clock: MockClock,
) -> None:
    """Though nothing new is written; so it is ready to lead."""
    async with world(autojump_clock, "a", "b") as w:
        leader = await w.leader()
        await publish(leader, "one", due_ms=START_MS + 3_600_000)
        await w.settled()
        await w["b"].crash()
        await trio.sleep(5)
        await w["b"].start()
        end = await w.settled(within_s=5)
        copy = w["b"].copies._copies[1, 0]._open
        assert copy is not None
        assert copy.state.applied_lsn == end


async def test_idle_partitions_say_nothing(autojump_clock: MockClock) -> None:
    """However many there are."""
    async with world(autojump_clock, "a", "b", partitions=50) as w:
        await w.leader()
        await trio.sleep(3)
        assert w["a"].life is not None
        asked: list[str] = []
        calls = w["a"].life.calls
        ask = calls.ask

        async def counted(peer: str, method: str, body: bytes) -> bytes:
            asked.append(method)
            return await ask(peer, method, body)

        calls.ask = counted  # type: ignore[method-assign]
        await trio.sleep(60)
        assert asked == []


async def test_a_batch_of_many_partitions_shares_a_call(autojump_clock: MockClock) -> None:
    """A leader that begins fifty terms asks a few times."""
    async with world(autojump_clock, "a", "b", partitions=50, start=False) as w:
        for host in w.machines.values():
            await host.start()
        assert w["b"].life is not None
        asked: list[str] = []
        method = w["b"].life.calls._methods["append"]

        async def counted(peer: str, body: bytes) -> bytes:
            asked.append(peer)
            return await method(peer, body)

        w["b"].life.calls.serve("append", counted)
        with trio.fail_after(10):
            for identity in w.assignments:
                await w.leader(identity)
        assert 1 <= len(asked) <= 25


async def test_the_cluster_goes_on_after_power_was_lost_everywhere(
    autojump_clock: MockClock,
) -> None:
    """With all that was acknowledged."""
    async with world(autojump_clock, "a", "b", "c") as w:
        leader = await w.leader()
        for n in range(5):
            assert await publish(leader, f"id-{n}") == Placement(n)
        for host in w.running:
            await host.crash()
        for host in w.machines.values():
            await host.start()
        assert await w.elect()
        leader = await w.leader()
        assert await publish(leader, "id-4") == Placement(4, [4], [True])
        assert await publish(leader, "next") == Placement(5)
        await w.settled()


async def test_a_cluster_that_stops_in_order_begins_where_it_stopped(
    autojump_clock: MockClock,
) -> None:
    """Views are saved by all, leader or not."""
    async with world(autojump_clock, "a", "b") as w:
        leader = await w.leader()
        for n in range(5):
            await publish(leader, f"id-{n}")
        await w.settled()
        for host in list(w.running):
            await host.stop()
        for host in w.machines.values():
            await host.start()
        for host in w.running:
            status = host.copies.status(FIRST)
            assert status is not None
            assert status.high_watermark == status.end_lsn
        assert await w.elect()
        assert await publish(await w.leader(), "next") == Placement(5)


async def test_an_interval_of_sync_is_no_wait_in_a_cluster_either(
    autojump_clock: MockClock,
) -> None:
    """With fsync = periodic what is written counts as if it were synced."""
    commit = CommitOptions(fsync="periodic", fsync_interval_ms=1000)
    async with world(autojump_clock, "a", "b", "c", commit=commit) as w:
        leader = await w.leader()
        with trio.fail_after(0.5):
            assert await publish(leader, "one") == Placement(0)


async def test_what_is_acknowledged_is_on_the_disks_of_two(autojump_clock: MockClock) -> None:
    """Not in their memories: one of them loses its power, the other is lost for good."""
    async with world(autojump_clock, "a", "b", "c") as w:
        leader = await w.leader()
        await w.settled()
        w.cut_off("c")
        assert await publish(leader, "one") == Placement(0)
        await w["b"].crash()
        await w["b"].start()
        await w["a"].crash()
        w.hosts.heal()
        assert await w.elect() == "b"
        assert await publish(await w.leader(), "one") == Placement(0, [0], [True])


async def test_records_of_earlier_epochs_are_committed_by_one_of_the_leader_s_own(
    autojump_clock: MockClock,
) -> None:
    """Though a quorum has them: a log that ends with a newer epoch would still win over them."""
    options = ReplicationOptions(append_bytes=200)
    async with world(autojump_clock, "a", "b", "c", options=options) as w:
        leader = await w.leader()
        committed = await w.settled()
        w.cut_off("a")
        async with trio.open_nursery() as nursery:
            for n in range(10):
                nursery.start_soon(publish, leader, f"{n}")
                await trio.sleep(0.01)
            assert await w.elect() == "a"
        await trio.sleep(0.1)
        epoch = w["a"].records()[-1]
        assert (epoch.kind, epoch.epoch) == (Kind.EPOCH, 2)
        assert epoch.lsn > committed
        for name in "bc":
            life = w[name].life
            assert life is not None
            life.threads.delay_s = lambda: 0.2
        w.hosts.heal()
        seen = set()
        for _ in range(200):
            await trio.sleep(0.05)
            status = w["a"].copies.status(FIRST)
            assert status is not None
            seen.add(status.high_watermark)
        assert max(seen) > epoch.lsn
        assert [lsn for lsn in seen if committed < lsn <= epoch.lsn] == []
