"""A copy that follows: what it takes, what it refuses, and what it must not forget."""

from __future__ import annotations

from typing import Any, Final

import pytest
import trio
from trio.testing import MockClock

from chronosdb.node.configuration.settings import ConfigError
from chronosdb.node.partition.committer import CommitOptions
from chronosdb.node.partition.partition import PartitionId
from chronosdb.node.partition.proposals import Placement
from chronosdb.node.partition.retirement import RetentionLimits
from chronosdb.node.replication.fences import Fences
from chronosdb.node.replication.follower import CommittedLost
from chronosdb.node.replication.messages import (
    AppendAnswer,
    AppendItem,
    BadMessage,
    BeginItem,
    Fence,
    PlainPoint,
    Status,
    decode,
)
from chronosdb.testing.memory_disk import MemoryDisk
from chronosdb.wal import LogFailed, LogOptions
from chronosdb.wire.errors import NotLeader
from tests.replication.cluster import FIRST, START_MS, Host, World, publish, world

SECOND: Final = PartitionId("t", 1, 1)


async def _alone(w: World, *, records: int = 3) -> Host:
    """A follower whose leader is gone, after some records."""
    leader = await w.leader()
    for n in range(records):
        await publish(leader, f"{n}")
    await w.settled()
    await w["a"].crash()
    return w["b"]


async def _begin(host: Host, epoch: int) -> int:
    answer = await host.copies._begin(BeginItem(1, 0, epoch))
    assert answer.status is Status.OK
    return answer.session


def _item(epoch: int, session: int, lsn: int, raw: bytes = b"", high: int = 0) -> AppendItem:
    return AppendItem(1, 0, epoch, session, lsn, high, 0, None, True, raw)


async def test_an_append_from_before_a_beginning_does_nothing(autojump_clock: MockClock) -> None:
    """However late it comes, and whatever it would take back."""
    async with world(autojump_clock, "a", "b") as w:
        host = await _alone(w)
        end = host.log().end_lsn
        old = await _begin(host, 2)
        await _begin(host, 2)
        answer = await host.copies._append(_item(2, old, 0))
        assert answer.status is Status.AGAIN
        assert host.log().end_lsn == end


async def test_the_same_append_twice_is_taken_once(autojump_clock: MockClock) -> None:
    """The second does not fit any more: begin again."""
    async with world(autojump_clock, "a", "b") as w:
        host = await _alone(w)
        log = host.log()
        last = host.records()[-1].lsn
        raw = log.raw(last, 1)
        # As if the last record were not there yet.
        session = await _begin(host, 2)
        w["b"].copies._copies[1, 0]._follower.high_watermark = last  # type: ignore[union-attr]
        item = _item(2, session, last, raw)
        assert (await host.copies._append(item)).end_lsn == log.end_lsn
        assert (await host.copies._append(item)).status is Status.AGAIN
        assert (await host.copies._append(item)).status is Status.AGAIN
        assert host.log().end_lsn == log.end_lsn


async def test_records_that_leave_a_gap_are_not_taken(autojump_clock: MockClock) -> None:
    """Nor those that are not what they should be."""
    async with world(autojump_clock, "a", "b") as w:
        host = await _alone(w)
        log = host.log()
        end = log.end_lsn
        raw = log.raw(0, 1)
        session = await _begin(host, 2)
        assert (await host.copies._append(_item(2, session, end + 64, raw))).status is Status.AGAIN
        session = await _begin(host, 2)
        assert (await host.copies._append(_item(2, session, end, raw))).status is Status.AGAIN
        assert host.log().end_lsn == end


async def test_an_older_epoch_is_refused_with_the_newer_one(autojump_clock: MockClock) -> None:
    """By whoever has promised, also after its power was cut."""
    async with world(autojump_clock, "a", "b", "c") as w:
        host = await _alone(w)
        session = await _begin(host, 1)
        fenced = await host.copies.fence(Fence([(1, 0, 5)]))
        end = host.log().end_lsn
        assert fenced.standings == [(1, 0, 1, end)]
        answer = await host.copies._append(_item(1, session, end))
        assert answer == AppendAnswer(Status.STALE, 5)
        await host.crash()
        await host.start()
        begun = await host.copies._begin(BeginItem(1, 0, 4))
        assert (begun.status, begun.epoch) == (Status.STALE, 5)
        await _begin(host, 5)


async def test_a_fence_is_answered_again_as_before(autojump_clock: MockClock) -> None:
    """Also one for less than was promised; about a partition that is not held, nothing is said."""
    async with world(autojump_clock, "a", "b") as w:
        host = await _alone(w)
        first = await host.copies.fence(Fence([(1, 0, 5), (9, 9, 2)]))
        again = await host.copies.fence(Fence([(1, 0, 5)]))
        less = await host.copies.fence(Fence([(1, 0, 2)]))
        assert first == again == less
        assert len(first.standings) == 1


async def test_a_fence_that_cannot_be_written_is_not_promised(autojump_clock: MockClock) -> None:
    """On a full disk."""
    async with world(autojump_clock, "a", "b") as w:
        host = await _alone(w)
        host.disk.capacity = host.disk.used_bytes
        assert (await host.copies.fence(Fence([(1, 0, 5)]))).standings == []


async def test_what_is_not_held_is_absent(autojump_clock: MockClock) -> None:
    """Until it is."""
    async with world(autojump_clock, "a", "b") as w:
        host = w["b"]
        begun = await host.copies._begin(BeginItem(7, 0, 1))
        answer = await host.copies._append(AppendItem(7, 0, 1, 1, 0, 0, 0, None, True, b""))
        assert (begun.status, answer.status) == (Status.ABSENT, Status.ABSENT)


async def test_a_copy_never_takes_back_what_was_committed(autojump_clock: MockClock) -> None:
    """A leader without it is a mistake, which is noticed before anything is written (test_mending.py)."""
    async with world(autojump_clock, "a", "b") as w:
        host = await _alone(w)
        end = host.log().end_lsn
        session = await _begin(host, 2)
        follower: Any = host.copies._copies[1, 0]._follower
        with pytest.raises(CommittedLost, match="was committed"):
            await follower.append(_item(2, session, 0))
        reset = PlainPoint(0, 0, 0, 0)
        item = AppendItem(1, 0, 2, session, 0, 0, 0, reset, True, b"")
        with pytest.raises(CommittedLost):
            await follower.append(item)
        assert host.log().end_lsn == end


async def test_a_failed_disk_ends_the_node_of_a_follower(autojump_clock: MockClock) -> None:
    """The others go on (I15)."""
    async with world(autojump_clock, "a", "b", "c") as w:
        leader = await w.leader()
        await w.settled()
        life = w["b"].life
        assert life is not None
        w["b"].disk.fail_at(1)
        assert await publish(leader, "one") == Placement(0)
        await life.ended.wait()
        assert any(isinstance(error, LogFailed) for error in life.errors)
        life.errors.clear()
        assert await publish(leader, "two") == Placement(1)


async def test_a_full_disk_makes_a_follower_lag_and_nothing_else(
    autojump_clock: MockClock,
) -> None:
    """When there is space it goes on."""
    async with world(autojump_clock, "a", "b", "c") as w:
        leader = await w.leader()
        await w.settled()
        w["b"].disk.capacity = w["b"].disk.used_bytes
        for n in range(40):
            payload = bytes(100_000)
            assert await publish(leader, f"{n}", payload=payload) == Placement(n)
        status = w["a"].copies.status(FIRST)
        assert status is not None
        assert status.lag["b"] > 0
        w["b"].disk.capacity = 1 << 40
        await w.settled()


_SMALL: Final[dict[str, Any]] = {
    "log_options": LogOptions(
        segment_bytes=4096,
        max_record_bytes=2048,
        allocate_min_bytes=4096,
        allocate_max_bytes=4096,
        disk_reserve_bytes=0,
    ),
    "commit": CommitOptions(dedup_window_ms=1000, checkpoint_interval_ms=500, group_bytes=1024),
    "retention": RetentionLimits(nbytes=8192),
}


async def _fill(w: World, count: int) -> None:
    leader = await w.leader()
    for n in range(count):
        placed = await publish(leader, f"{leader.state.epoch}-{n}", payload=bytes(200))
        assert isinstance(placed, Placement)
        await trio.sleep(0.1)
        if n % 10 == 9:
            await leader.retirement.run(START_MS + int(trio.current_time() * 1000))


async def test_followers_let_go_what_their_leader_lets_go(autojump_clock: MockClock) -> None:
    """A pending event that was carried forward is known to them."""
    async with world(autojump_clock, "a", "b", **_SMALL) as w:
        await publish(await w.leader(), "far", due_ms=START_MS + 10_000_000)
        await _fill(w, 60)
        await w.settled()
        await trio.sleep(2)
        await _fill(w, 1)
        await w.settled()
        assert w["a"].log().start_lsn > 4096
        assert w["b"].log().start_lsn > 4096
        await w["a"].crash()
        w.change(FIRST, isr=("b",))
        assert await w.elect() == "b"
        leader = await w.leader()
        assert leader.find(b"far") is not None
        assert len(leader.state.timers.pending) == 1


async def test_a_copy_that_was_away_for_too_long_is_copied_anew(autojump_clock: MockClock) -> None:
    """It begins where its leader's log does now, and knows all that is alive."""
    async with world(autojump_clock, "a", "b", **_SMALL) as w:
        leader = await w.leader()
        await publish(leader, "far", due_ms=START_MS + 10_000_000)
        done: list[object] = []
        leader.create_group("g", "earliest", done.append)
        await w.settled()
        await w["b"].crash()
        w.change(FIRST, isr=("a",))
        leader.create_group("h", "earliest", done.append)
        await trio.sleep(1)
        for name in ("g", "h"):
            leader.end_group(name, done.append)
        await _fill(w, 60)
        leader.create_group("late", "latest", done.append)
        assert w["a"].log().start_lsn > w["b"].log().end_lsn
        await w["b"].start()
        await w.settled()
        assert w["b"].log().start_lsn == w["a"].log().start_lsn
        await trio.sleep(1)
        assert w.assignments[FIRST].isr == ("a", "b")
        await w["a"].crash()
        w.change(FIRST, isr=("b",))
        assert await w.elect() == "b"
        leader = await w.leader()
        assert leader.find(b"far") is not None
        assert list(leader.state.groups) == ["late"]


async def test_a_copy_that_is_not_whole_is_no_witness(autojump_clock: MockClock) -> None:
    """Whoever lost its files must not help to elect a leader without what it had."""
    async with world(autojump_clock, "a", "b", "c") as w:
        leader = await w.leader()
        await w["c"].crash()
        await publish(leader, "one")
        await w["b"].crash()
        for name in w["b"].disk.listdir("/d/1-0"):
            w["b"].disk.unlink(f"/d/1-0/{name}")
        w["b"].disk._directories.discard("/d/1-0")
        w.change(FIRST, epoch=2, leader="")
        await w["a"].crash()
        for name in "bc":
            await w[name].start()
        assert await w.elect() == ""
        await w["b"].crash()
        await w["b"].start()
        assert await w.elect() == ""
        await w["a"].start()
        assert await w.elect() == "a"
        assert isinstance(again := await publish(await w.leader(), "one"), Placement)
        assert again.duplicates == [True]
        await w.settled()
        assert len(await w.fence(FIRST, 9)) == 3


async def test_a_copy_that_never_was_is_a_witness(autojump_clock: MockClock) -> None:
    """A partition is made while two of three are away, and its first leader goes: those two elect."""
    async with world(autojump_clock, "a", "b", "c") as w:
        await w["b"].crash()
        await w["c"].crash()
        w.place(SECOND, "a", "b", "c")
        await w["a"].crash()
        w.change(SECOND, epoch=2, leader="")
        for name in "bc":
            await w[name].start()
        assert await w.elect(SECOND) in {"b", "c"}
        await w.leader(SECOND)


async def test_followers_do_not_pile_up_timers_that_have_fired(autojump_clock: MockClock) -> None:
    """Their wheel loses them when the views are saved."""
    commit = CommitOptions(checkpoint_interval_ms=5000)
    async with world(autojump_clock, "a", "b", commit=commit) as w:
        leader = await w.leader()
        for n in range(50):
            await publish(leader, f"{n}", due_ms=START_MS + 3000 + n)
        await trio.sleep(20)
        copy = w["b"].copies._copies[1, 0]._open
        assert copy is not None
        assert len(copy.state.timers.pending) == 0
        assert copy.state.timers.wheel.next_wakeup_ms() is None


async def test_a_copy_that_is_dropped_is_closed_and_forgotten(autojump_clock: MockClock) -> None:
    """Also what it had promised: who holds it again hears of the newest epoch first."""
    async with world(autojump_clock, "a", "b") as w:
        await w.leader()
        host = w["b"]
        await host.copies.fence(Fence([(1, 0, 5)]))
        await host.copies.drop(FIRST)
        assert host.copies.held() == []
        assert host.copies.status(FIRST) is None
        assert host.disk.read_file("/d/fences") == b'{"format":1,"epochs":{},"parts":[],"held":[]}'
        await host.copies.hold(FIRST, w.assignments[FIRST], host.plan(FIRST))
        assert host.copies.held() == [FIRST]


def test_promises_that_cannot_be_read_stop_the_node() -> None:
    """Whoever forgot what it promised must not take part."""
    disk = MemoryDisk()
    disk.mkdir("/d")
    for body in (b"rubbish", b'{"format":2,"epochs":{},"parts":[]}'):
        disk.write_file_atomic("/d/fences", body)
        with pytest.raises(ConfigError, match="/d/fences"):
            Fences(disk, "/d/fences")


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x91\x91\x93\x01\x02\xe0", b"\x92\x01\x02"])
def test_what_makes_no_sense_is_no_message(body: bytes) -> None:
    """Wrong shapes, negative numbers, rubbish."""
    with pytest.raises(BadMessage):
        decode(body, Fence)


async def test_a_peer_that_makes_no_sense_harms_nobody(autojump_clock: MockClock) -> None:
    """It is answered with nothing."""
    async with world(autojump_clock, "a", "b") as w:
        await w.leader()
        assert w["a"].life is not None
        for method in ("begin", "append", "fence", "handover"):
            assert await w["a"].life.calls.ask("b", method, b"rubbish") == b""


async def test_a_leader_that_is_dropped_waits_for_nobody(autojump_clock: MockClock) -> None:
    """A deleted topic may be gone from the others already."""
    async with world(autojump_clock, "a", "b") as w:
        leader = await w.leader()
        deposed: list[object] = []
        w["a"].copies.on_deposed = deposed.append
        await w["b"].copies.drop(FIRST)
        outcomes: list[object] = []

        async def wait() -> None:
            outcomes.append(await publish(leader, "one"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(0.1)
            with trio.fail_after(1):
                await w["a"].copies.drop(FIRST)
        assert [type(outcome) for outcome in outcomes] == [NotLeader]
        assert deposed == [leader]


async def test_a_copy_without_space_to_begin_anew_waits_for_some(
    autojump_clock: MockClock,
) -> None:
    """It stays what it is until then."""
    async with world(autojump_clock, "a", "b", **_SMALL) as w:
        leader = await w.leader()
        await publish(leader, "one")
        await w.settled()
        await w["b"].crash()
        w.change(FIRST, isr=("a",))
        await _fill(w, 60)
        assert w["a"].log().start_lsn > w["b"].log().end_lsn
        w["b"].disk.capacity = 1
        await w["b"].start()
        await trio.sleep(10)
        assert w["b"].log().start_lsn == 0
        w["b"].disk.capacity = 1 << 40
        await w.settled()
        assert w["b"].log().start_lsn > 0
