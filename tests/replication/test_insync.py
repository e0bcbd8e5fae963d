"""Who counts for what is committed: out after lagging for too long, in when level, never by surprise."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from chronosdb.node.partition.proposals import Placement
from chronosdb.node.replication import quorum
from chronosdb.node.replication.insync import InSync
from chronosdb.node.replication.options import ReplicationOptions
from tests.replication.cluster import FIRST, World, publish, world

_NODES = "abcde"
_SYNCED = st.dictionaries(st.sampled_from(_NODES), st.integers(0, 9))
_ISR = st.sets(st.sampled_from(_NODES), min_size=1).map(sorted)


@given(_ISR, _SYNCED)
def test_what_is_committed_is_on_a_quorum_and_on_the_leader(
    isr: list[str], synced: dict[str, int]
) -> None:
    """And nothing more could be."""
    leader = isr[0]
    lsn = quorum.watermark([isr], synced, leader)
    having = [node for node in isr if synced.get(node, 0) >= lsn]
    assert len(having) >= quorum.quorum(len(isr))
    assert leader in having
    more = [node for node in isr if synced.get(node, 0) > lsn]
    assert len(more) < quorum.quorum(len(isr)) or leader not in more


@given(_ISR, _ISR, _SYNCED)
def test_what_is_committed_while_the_isr_changes_is_so_in_both(
    isr: list[str], other: list[str], synced: dict[str, int]
) -> None:
    """Whichever of them an election sees."""
    both = quorum.watermark([isr, other], synced, isr[0])
    assert both <= quorum.watermark([isr], synced, isr[0])
    assert quorum.holds(other, synced, both)


@given(_ISR, st.permutations(_NODES), _SYNCED, st.integers(0, 9), st.integers(1, 3))
def test_whoever_leaves_can_be_spared(
    isr: list[str], lagging: list[str], synced: dict[str, int], high: int, min_insync: int
) -> None:
    """The rest is large enough, and has what is committed."""
    rest = quorum.shrunk(isr, lagging, synced, high, min_insync)
    assert rest == tuple(isr) or (
        len(rest) >= min_insync and quorum.holds(rest, synced, high) and set(rest) < set(isr)
    )


@given(_ISR, _SYNCED, st.sets(st.sampled_from(_NODES)), st.integers(0, 9))
def test_whoever_comes_has_what_is_committed(
    isr: list[str], synced: dict[str, int], level: set[str], high: int
) -> None:
    """One at a time, and the larger ISR has it, too."""
    larger = quorum.grown(isr, tuple(_NODES), level, synced, high)
    if larger != tuple(isr):
        (new,) = set(larger) - set(isr)
        assert new in level
        assert synced.get(new, 0) >= high
        assert quorum.holds(larger, synced, high)


@pytest.mark.parametrize(("copies", "smallest"), [(1, 1), (2, 1), (3, 2), (4, 3), (5, 3), (7, 4)])
def test_by_default_half_of_the_copies_may_be_lost_and_no_more(copies: int, smallest: int) -> None:
    """But of two, one: else the second would only make it less available."""
    assert quorum.default_min_insync(copies) == smallest


def _isr(w: World) -> tuple[str, ...]:
    return w.assignments[FIRST].isr


async def test_a_dead_follower_leaves_and_comes_back_when_it_is_level(
    autojump_clock: MockClock,
) -> None:
    """Not before it has lagged for long; an idle partition does not make it lag."""
    async with world(autojump_clock, "a", "b", "c") as w:
        leader = await w.leader()
        await w.settled()
        await w["c"].crash()
        await trio.sleep(100)
        assert _isr(w) == ("a", "b", "c")
        await publish(leader, "one")
        await trio.sleep(8)
        assert _isr(w) == ("a", "b", "c")
        await trio.sleep(4)
        assert _isr(w) == ("a", "b")
        await w["c"].start()
        await w.settled()
        await trio.sleep(1)
        assert _isr(w) == ("a", "b", "c")


async def test_two_copies_go_on_with_one_when_one_is_lost_for_long(
    autojump_clock: MockClock,
) -> None:
    """Until then nothing is committed."""
    async with world(autojump_clock, "a", "b") as w:
        leader = await w.leader()
        await w["b"].crash()
        with trio.fail_after(12):
            began = trio.current_time()
            assert await publish(leader, "one") == Placement(0)
            assert trio.current_time() - began > 9
        assert _isr(w) == ("a",)


async def test_the_isr_does_not_become_too_small(autojump_clock: MockClock) -> None:
    """Rather nothing is committed."""
    async with world(autojump_clock, "a", "b", "c", min_insync=2) as w:
        leader = await w.leader()
        await w["c"].crash()
        await publish(leader, "one")
        await trio.sleep(12)
        await w["b"].crash()
        with trio.move_on_after(60) as patience:
            await publish(leader, "two")
        assert patience.cancelled_caught
        assert _isr(w) == ("a", "b")
        await w["b"].start()
        with trio.fail_after(5):
            assert await publish(leader, "three") == Placement(2)


@pytest.mark.parametrize("fate", ["unknown", "lost"])
async def test_while_nobody_knows_which_isr_it_is_both_count(
    autojump_clock: MockClock, fate: str
) -> None:
    """A proposal is repeated until it is decided."""
    async with world(autojump_clock, "a", "b") as w:
        leader = await w.leader()
        await w.settled()
        w.proposals = fate
        told, w.deaf = w.deaf, frozenset("a")
        w.cut_off("b")
        with trio.move_on_after(40) as patience:
            await publish(leader, "one")
        assert patience.cancelled_caught
        assert _isr(w) == (("a",) if fate == "unknown" else ("a", "b"))
        w.proposals, w.deaf = "decided", told
        w.tell(FIRST)
        with trio.fail_after(10):
            assert await publish(leader, "two") == Placement(1)
        assert _isr(w) == ("a",)


async def test_a_proposal_that_is_refused_for_good_is_made_again_later(
    autojump_clock: MockClock,
) -> None:
    """Meanwhile the ISR is what it was."""
    async with world(autojump_clock, "a", "b", "c") as w:
        leader = await w.leader()
        w.proposals = "refused"
        w.cut_off("c")
        for n in range(15):
            assert await publish(leader, f"{n}") == Placement(n)
            await trio.sleep(1)
        assert _isr(w) == ("a", "b", "c")
        w.proposals = "decided"
        await trio.sleep(6)
        assert _isr(w) == ("a", "b")


async def test_a_new_replica_comes_in_though_one_of_the_isr_is_dead(
    autojump_clock: MockClock,
) -> None:
    """Else what stands still for want of a dead one could not be healed."""
    async with world(autojump_clock, "a", "b", "c", min_insync=2) as w:
        w.change(FIRST, replicas=("a", "b"), isr=("a", "b"))
        leader = await w.leader()
        await publish(leader, "one")
        await w["b"].crash()
        with trio.move_on_after(1) as patience:
            await publish(leader, "two")
        assert patience.cancelled_caught
        w.change(FIRST, replicas=("a", "b", "c"))
        with trio.fail_after(5):
            assert await publish(leader, "three") == Placement(2)
        assert "c" in _isr(w)


async def test_a_replica_that_is_to_go_leaves_the_isr(autojump_clock: MockClock) -> None:
    """As soon as the others have what is committed, though it does not lag."""
    async with world(autojump_clock, "a", "b", "c") as w:
        leader = await w.leader()
        await publish(leader, "one")
        await w.settled()
        w.change(FIRST, leaving=("b",))
        await trio.sleep(1)
        assert _isr(w) == ("a", "c")
        w.change(FIRST, replicas=("a", "c"), leaving=())
        assert await publish(leader, "two") == Placement(1)
        assert leader is await w.leader()
        status = w["a"].copies.status(FIRST)
        assert status is not None
        assert list(status.lag) == ["c"]


async def test_what_is_copied_anew_does_not_take_more_than_its_share(
    autojump_clock: MockClock,
) -> None:
    """A copy out of sync gets so many bytes a second; one in sync, all it takes."""
    options = ReplicationOptions(
        catch_up_bytes_per_s=10_000, lag_max_ms=500, append_bytes=1000, piece_bytes=10_000
    )
    async with world(autojump_clock, "a", "b", "c", options=options) as w:
        leader = await w.leader()
        await w["c"].crash()
        for n in range(100):
            await publish(leader, f"{n}", payload=bytes(1000))
            await trio.sleep(0.02)
        assert _isr(w) == ("a", "b")
        await w["c"].start()
        began = trio.current_time()
        await w.settled()
        assert 9 < trio.current_time() - began < 30


async def test_a_partition_in_order_is_left_alone(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node has many, and most are so most of the time; the next record makes it look again."""
    looks: list[float] = []
    wanted = InSync._wanted

    def look(self: InSync) -> tuple[str, ...]:
        looks.append(trio.current_time())
        return wanted(self)

    monkeypatch.setattr(InSync, "_wanted", look)
    async with world(autojump_clock, "a", "b", "c") as w:
        leader = await w.leader()
        await w.settled()
        await trio.sleep(2)
        looks.clear()
        await trio.sleep(100)
        assert looks == []
        await publish(leader, "one")
        await trio.sleep(2)
        assert 1 <= len(looks) <= 4
