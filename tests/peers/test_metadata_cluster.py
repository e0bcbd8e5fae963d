"""Metadata of several voters, as nodes run it: elections, forwarding, reads, membership."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from chronosdb.node.peers.peers import Expelled
from chronosdb.raft import AdmitNode, CreateTopic, NodeState, RemoveNode
from chronosdb.wire.errors import ChronosError, Conflict
from tests.peers.cluster import World, world


async def test_any_node_takes_commands_and_shows_what_they_did(autojump_clock: MockClock) -> None:
    """A follower forwards, and answers once its own view has it."""
    async with world(autojump_clock, "a", "b", "c") as cluster:
        for machine in cluster.running:
            assert (await machine.metadata.submit(CreateTopic(machine.name, 1))).created
            assert machine.name in machine.metadata.view.topics
        for machine in cluster.running:
            assert set((await machine.metadata.read()).topics) == {"a", "b", "c"}


async def test_the_leader_stamps_the_time(autojump_clock: MockClock) -> None:
    """Clocks of followers that are wrong do not matter."""
    async with world(autojump_clock, "a", "b", "c") as cluster:
        leader = await cluster.leader()
        follower = next(m for m in cluster.running if m is not leader)
        follower.metadata._env.clock.now_ms = lambda: 7  # type: ignore[method-assign]
        await follower.metadata.submit(CreateTopic("t", 1))
        assert follower.metadata.view.topics["t"].created_ms > 1_800_000_000_000


async def test_a_dead_leader_is_replaced_within_seconds(autojump_clock: MockClock) -> None:
    """Submits that were under way are answered by the next one, once."""
    async with world(autojump_clock, "a", "b", "c") as cluster:
        leader = await cluster.leader()
        await leader.crash()
        began_s = trio.current_time()
        survivor = cluster.running[0]
        assert (await survivor.metadata.submit(CreateTopic("t", 1))).created
        assert trio.current_time() - began_s < 5
        await cluster.start()
        assert "t" in (await cluster[leader.name].metadata.read()).topics


async def test_a_node_that_was_cut_off_does_not_depose_the_leader(
    autojump_clock: MockClock,
) -> None:
    """It asked in vain whether it could win, and so its term is the old one."""
    async with world(autojump_clock, "a", "b", "c") as cluster:
        leader = await cluster.leader()
        term = leader.metadata._replica.term
        follower = next(m for m in cluster.running if m is not leader)
        cluster.cut_off(follower.name)
        await trio.sleep(60)
        cluster.hosts.heal()
        await trio.sleep(10)
        assert cluster.leaders() == [leader]
        assert follower.metadata._replica.term == term
        assert follower.metadata.leader == leader.name


async def test_a_leader_that_is_cut_off_steps_down_and_catches_up(
    autojump_clock: MockClock,
) -> None:
    """Its own commands do not count, and it comes back as a follower."""
    async with world(autojump_clock, "a", "b", "c") as cluster:
        old = await cluster.leader()
        cluster.cut_off(old.name)
        with pytest.raises(ChronosError):
            await old.metadata.submit(CreateTopic("lost", 1))
        assert not old.metadata.is_leader
        (new,) = cluster.leaders()
        await new.metadata.submit(CreateTopic("kept", 1))
        cluster.hosts.heal()
        await trio.sleep(10)
        assert cluster.leaders() == [new]
        assert "kept" in (await old.metadata.read()).topics


@pytest.mark.parametrize("from_leader", [True, False])
async def test_a_one_way_cut_leaves_the_others_a_leader(
    autojump_clock: MockClock, from_leader: bool
) -> None:
    """Whether the leader is not heard, or does not hear: the rest works within seconds."""
    async with world(autojump_clock, "a", "b", "c") as cluster:
        leader = await cluster.leader()
        for other in cluster.running:
            if other is not leader:
                pair = (leader.name, other.name)
                cluster.hosts.cut(*(pair if from_leader else pair[::-1]))
        await trio.sleep(10)
        others = [m for m in cluster.running if m is not leader]
        assert (await others[0].metadata.submit(CreateTopic("t", 1))).created
        cluster.hosts.heal()
        await trio.sleep(5)
        assert "t" in (await leader.metadata.read()).topics


async def test_a_stalled_loop_reads_its_inbox_before_it_judges_the_leader(
    autojump_clock: MockClock,
) -> None:
    """Nearly two seconds in which nothing ran cost nobody the leadership."""
    async with world(autojump_clock, "a", "b", "c") as cluster:
        leader = await cluster.leader()
        term = leader.metadata._replica.term
        for _ in range(10):
            autojump_clock.jump(1.7)
            await trio.sleep(2.5)
        assert cluster.leaders() == [leader]
        assert leader.metadata._replica.term == term


async def test_readers_share_barriers(autojump_clock: MockClock) -> None:
    """A hundred readers at once cost two entries of the log, not a hundred."""
    async with world(autojump_clock, "a", "b", "c") as cluster:
        leader = await cluster.leader()
        before = leader.metadata._replica.applied_index
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(leader.metadata.read)
        assert leader.metadata._replica.applied_index - before <= 2


async def test_a_burst_of_commands_waits_its_turn(autojump_clock: MockClock) -> None:
    """However many there are: no answer is forgotten before its request has it."""
    async with world(autojump_clock, "a", "b", "c") as cluster:
        follower = next(m for m in cluster.running if not m.metadata.is_leader)
        created = []

        async def create(n: int) -> None:
            result = await follower.metadata.submit(CreateTopic(f"t{n}", 1))
            created.append(result.created)

        async with trio.open_nursery() as nursery:
            for n in range(1_000):
                nursery.start_soon(create, n)
        assert created == [True] * 1_000


async def test_leadership_can_be_transferred(autojump_clock: MockClock) -> None:
    """Asked of any node, within a second."""
    async with world(autojump_clock, "a", "b", "c") as cluster:
        leader = await cluster.leader()
        heir, third = (m for m in cluster.running if m is not leader)
        began_s = trio.current_time()
        await third.metadata.transfer(heir.name)
        assert trio.current_time() - began_s < 1
        assert cluster.leaders() == [heir]


async def _join(cluster: World, name: str) -> None:
    """Admit a node, start it, and give it a vote."""
    asked = cluster.running[0].metadata
    await asked.submit(AdmitNode(name, f"{name}:1", ""))
    others = [m.name for m in cluster.running]
    cluster.add(name).set_up(others, joins=True)
    await cluster.start()
    await asked.change_voters(add=name)


async def test_a_node_joins_votes_and_the_old_ones_can_go(autojump_clock: MockClock) -> None:
    """Replacing every voter, one at a time, loses nothing and needs nobody of the first ones."""
    async with world(autojump_clock, "a", "b", "c") as cluster:
        await cluster["a"].metadata.submit(CreateTopic("t", 1))
        for old, new in zip("abc", "def", strict=True):
            await _join(cluster, new)
            metadata = cluster[new].metadata
            if metadata.leader == old:
                await metadata.transfer(new)
            await metadata.change_voters(remove=old)
            await metadata.submit(RemoveNode(old))
            await trio.sleep(3)
            life = cluster[old].life
            assert life is not None
            assert [type(error) for error in life.errors] == [Expelled]
            del cluster.machines[old]
        assert {m.name for m in cluster.running} == {"d", "e", "f"}
        view = await cluster["f"].metadata.read()
        assert view.voters == ("d", "e", "f")
        assert "t" in view.topics
        assert view.nodes["a"].state is NodeState.LEFT
        # None of them was there when another of them was set up; yet all can start at once.
        for machine in cluster.running:
            await machine.crash()
        await cluster.start()
        assert "t" in (await cluster["d"].metadata.read()).topics


async def test_a_node_that_joins_need_not_be_told_who_leads(autojump_clock: MockClock) -> None:
    """Of the others it hears who else is there, and then lets the leader in, and answers it."""
    async with world(autojump_clock, "a", "b", "c") as cluster:
        leader = (await cluster.leader()).name
        follower = next(name for name in "abc" if name != leader)
        await cluster[follower].metadata.submit(AdmitNode("d", "d:1", ""))
        cluster.add("d").set_up([follower], joins=True)
        await cluster.start()
        assert cluster["d"].metadata.leader == leader
        assert (await cluster["d"].metadata.submit(CreateTopic("t", 1))).created


async def test_a_node_without_a_vote_that_was_cut_off_hears_of_a_leader_that_came_since(
    autojump_clock: MockClock,
) -> None:
    """It knew all there were, believes in the old leader, and holds no election that would tell it more."""
    async with world(autojump_clock, "a", "b", "c") as cluster:
        await cluster["a"].metadata.submit(AdmitNode("d", "d:1", ""))
        cluster.add("d").set_up("abc", joins=True)
        await cluster.start()
        cluster.cut_off("d")
        cut_off = cluster.machines.pop("d")
        await _join(cluster, "e")
        await cluster["a"].metadata.transfer("e")
        await trio.sleep(5)
        cluster.machines["d"] = cut_off
        cluster.hosts.heal()
        with trio.fail_after(30):
            while cut_off.metadata.leader != "e":  # noqa: ASYNC110 - no event says so
                await trio.sleep(0.05)


async def test_a_node_that_was_away_hears_of_a_leader_that_came_since(
    autojump_clock: MockClock,
) -> None:
    """It was there before that node was, and would refuse it for ever."""
    async with world(autojump_clock, "a", "b", "c") as cluster:
        while "c" not in cluster["a"].metadata.view.nodes:  # noqa: ASYNC110 - until it has enrolled
            await trio.sleep(0.05)
        await cluster["c"].crash()
        away = cluster.machines.pop("c")
        await _join(cluster, "d")
        await cluster["a"].metadata.transfer("d")
        cluster.machines["c"] = away
        await cluster.start()
        assert away.metadata.leader == "d"


async def test_a_cluster_of_one_grows_to_three_and_shrinks_again(
    autojump_clock: MockClock,
) -> None:
    """What it had is on all; then any one may die, and the last one is enough for itself."""
    async with world(autojump_clock, "a") as cluster:
        await cluster["a"].metadata.submit(CreateTopic("t", 1))
        await _join(cluster, "b")
        await _join(cluster, "c")
        await cluster["a"].crash()
        assert (await cluster["b"].metadata.submit(CreateTopic("u", 1))).created
        await cluster.start()
        for machine in cluster.running:
            assert set((await machine.metadata.read()).topics) == {"t", "u"}
        await cluster["c"].metadata.transfer("c")
        for name in ("a", "b"):
            await cluster["c"].metadata.change_voters(remove=name)
            await cluster["c"].metadata.submit(RemoveNode(name))
            await trio.sleep(2)
            del cluster.machines[name]
        assert (await cluster["c"].metadata.submit(CreateTopic("v", 1))).created


async def test_a_removed_node_that_starts_again_is_told(autojump_clock: MockClock) -> None:
    """Its old directory is no way back in."""
    async with world(autojump_clock, "a", "b", "c") as cluster:
        leader = await cluster.leader()
        gone = next(m for m in cluster.running if m is not leader)
        await gone.crash()
        await leader.metadata.change_voters(remove=gone.name)
        await leader.metadata.submit(RemoveNode(gone.name))
        await gone.start()
        assert gone.life is not None
        await gone.life.ended.wait()
        (error,) = gone.life.errors
        gone.life = None
        assert isinstance(error, Expelled)
        assert "removed from this cluster" in str(error)
        assert cluster.leaders() == [leader]


async def test_an_empty_disk_under_an_old_name_is_refused(autojump_clock: MockClock) -> None:
    """It has forgotten its votes: it must come back under another name."""
    async with world(autojump_clock, "a", "b", "c") as cluster:
        leader = await cluster.leader()
        await trio.sleep(2)
        wiped = next(m for m in cluster.running if m is not leader)
        await wiped.wipe()
        wiped.set_up([m.name for m in cluster.running])
        await wiped.start()
        assert wiped.life is not None
        await wiped.life.ended.wait()
        (error,) = wiped.life.errors
        wiped.life = None
        assert isinstance(error, Expelled)
        assert "another data directory" in str(error)


async def test_a_node_gets_no_vote_before_it_is_level(autojump_clock: MockClock) -> None:
    """A vote that cannot help to commit would only make every majority larger."""
    async with world(autojump_clock, "a", "b", "c") as cluster:
        leader = await cluster.leader()
        await leader.metadata.submit(AdmitNode("d", "d:1", ""))
        with pytest.raises(ChronosError, match="d is not connected"):
            await leader.metadata.change_voters(add="d")


async def test_a_leader_keeps_its_vote(autojump_clock: MockClock) -> None:
    """It would count itself in a majority that it is no part of."""
    async with world(autojump_clock, "a", "b", "c") as cluster:
        leader = await cluster.leader()
        with pytest.raises(ChronosError, match="transfer the leadership first"):
            await leader.metadata.change_voters(remove=leader.name)
        with pytest.raises(Conflict, match="take its vote first"):
            await leader.metadata.submit(RemoveNode(leader.name))


async def test_followers_without_a_vote_follow(autojump_clock: MockClock) -> None:
    """A node that only joined has the view, takes commands, and is no part of a majority."""
    async with world(autojump_clock, "a", "b", "c") as cluster:
        await cluster["a"].metadata.submit(AdmitNode("d", "d:1", "r1"))
        cluster.add("d").set_up("abc", joins=True)
        await cluster.start()
        assert (await cluster["d"].metadata.submit(CreateTopic("t", 1))).created
        assert cluster["d"].metadata.view.voters == ("a", "b", "c")
        for name in ("b", "c"):
            await cluster[name].crash()
        with pytest.raises(ChronosError):
            await cluster["d"].metadata.submit(CreateTopic("u", 1))
