"""A flipped byte in one copy: the others have the right one, and nothing is lost, doubled or doubted."""

from __future__ import annotations

from typing import Any, Final

import pytest
import trio
from trio.testing import MockClock

from chronosdb.node.partition.epochs import Extent
from chronosdb.node.partition.proposals import Placement
from chronosdb.node.replication.damaged import ASIDE
from chronosdb.node.replication.mending import vouches
from chronosdb.node.replication.messages import AppendItem, BeginItem, RecordAnswer, Status
from chronosdb.wal import DamagedRecord, LogOptions, Record
from chronosdb.wire.errors import NotLeader
from tests.replication.cluster import FIRST, Host, World, publish, world

#: Several segments after some publishes.
SMALL: Final = LogOptions(segment_bytes=16 * 1024, max_record_bytes=4096, index_interval_bytes=1024)
DIRECTORY: Final = f"/d/{FIRST.directory}"


async def _filled(w: World, events: int = 200) -> None:
    leader = await w.leader()
    for n in range(events):
        assert await publish(leader, f"id-{n}", payload=bytes(100)) == Placement(n)
    await w.settled()


def _flip(host: Host, record: Record, at: int = 40) -> None:
    """One byte of a record is not what was written any more."""
    assert host.flip(record, at)


async def _whole(host: Host, records: list[Record]) -> None:
    """Wait until a copy has these records, and follows or leads again."""
    with trio.fail_after(30):
        while host.copies.status(FIRST).role == "damaged" or not _reads(host, records):  # type: ignore[union-attr]  # noqa: ASYNC110
            await trio.sleep(0.1)


def _reads(host: Host, records: list[Record]) -> bool:
    try:
        return host.records()[: len(records)] == records
    except DamagedRecord:
        return False


async def test_what_a_reader_meets_on_the_leader_is_mended(autojump_clock: MockClock) -> None:
    """The reader is told; whoever reads a moment later gets the right bytes. It leads on."""
    async with world(autojump_clock, "a", "b", "c", log_options=SMALL) as w:
        await _filled(w)
        leader, records = await w.leader(), w["a"].records()
        _flip(w["a"], records[20])
        with pytest.raises(DamagedRecord):
            list(leader.history().log.scan())
        await trio.sleep(2)
        assert list(leader.history().log.scan()) == records
        assert w["a"].copies.mended.records == 1
        assert w.leading()[0][0] is w["a"]


@pytest.mark.parametrize("name", ["a", "b"])
@pytest.mark.parametrize("place", [3, -20])
async def test_damage_is_mended_when_a_copy_is_opened(
    autojump_clock: MockClock, name: str, place: int
) -> None:
    """In a sealed segment and in the last one, of who led and of who followed."""
    async with world(autojump_clock, "a", "b", "c", log_options=SMALL) as w:
        await _filled(w)
        host, records = w[name], w["c"].records()
        await host.crash()
        if name == "a":
            assert await w.elect() in {"b", "c"}
        _flip(host, records[place])
        _flip(host, records[place + 1], at=2)
        await host.start()
        await _whole(host, records)
        assert host.copies.mended.records == 2
        await w.settled()
        assert await publish(await w.leader(), "after") == Placement(200)
        await w.settled()
        assert w["a"].records() == w["b"].records() == w["c"].records()
        assert set(w.assignments[FIRST].isr) == {"a", "b", "c"}


async def test_a_follower_that_cannot_apply_goes_on_when_it_is_mended(
    autojump_clock: MockClock,
) -> None:
    """It takes what comes meanwhile, and stays in sync."""
    async with world(autojump_clock, "a", "b", "c", log_options=SMALL) as w:
        await _filled(w, 60)
        records = w["a"].records()
        await w["c"].crash()
        w["c"].views.delete_range(b"")
        w.cut_off("c")
        await w["c"].start()
        _flip(w["c"], records[31])
        w.hosts.heal()
        assert await publish(await w.leader(), "one more") == Placement(60)
        end_lsn = await w.settled()
        await trio.sleep(3)
        follower: Any = w["c"].copies._copies[1, 0]._follower
        assert follower._copy.state.applied_lsn == end_lsn
        assert w["c"].copies.mended.records == 1
        assert w["c"].records() == w["a"].records()
        assert w.assignments[FIRST].isr == ("a", "b", "c")


async def test_a_leader_that_must_read_what_is_damaged_steps_down_until_it_is_mended(
    autojump_clock: MockClock,
) -> None:
    """Whoever waits is told to ask the next leader; nobody is sent other bytes."""
    async with world(autojump_clock, "a", "b", "c", log_options=SMALL) as w:
        await _filled(w)
        leader, records = await w.leader(), w["a"].records()
        _flip(w["a"], records[20])
        outcomes: list[Any] = []
        async with trio.open_nursery() as nursery:

            async def late() -> None:
                outcomes.append(await publish(leader, "waits"))

            leader.committer.pause(True)
            nursery.start_soon(late)
            await trio.sleep(0.1)
            with pytest.raises(DamagedRecord) as met:
                w["a"].log().read(records[20].lsn)
            w["a"].copies._copies[1, 0].leadership.damaged(met.value)  # type: ignore[union-attr]
        assert isinstance(outcomes[0], NotLeader)
        await _whole(w["a"], records)
        assert (1, 0, 1) in w["a"].life.lease.refusals  # type: ignore[union-attr]
        assert await w.elect(prefer="a")
        assert await publish(await w.leader(), "after") == Placement(200)


async def test_a_damaged_copy_that_nobody_can_mend_waits(autojump_clock: MockClock) -> None:
    """It touches nothing, and is no witness for what was committed, until another copy is back."""
    async with world(autojump_clock, "a", "b", "c", log_options=SMALL) as w:
        await _filled(w)
        records = w["a"].records()
        for name in "abc":
            await w[name].crash()
        _flip(w["a"], records[-20])
        segment = max(w["a"].disk.listdir(DIRECTORY))
        before = w["a"].disk.read_file(f"{DIRECTORY}/{segment}")
        await w["a"].start()
        await trio.sleep(10)
        assert w["a"].copies.status(FIRST).role == "damaged"  # type: ignore[union-attr]
        assert w["a"].disk.read_file(f"{DIRECTORY}/{segment}") == before
        await w["b"].start()
        assert set(await w.fence(FIRST, 2)) == {"b"}
        await w["c"].start()
        w.change(FIRST, epoch=2, leader="")
        assert await w.elect() in {"b", "c"}
        await _whole(w["a"], records)
        assert set(await w.fence(FIRST, w.assignments[FIRST].epoch)) == {"a", "b", "c"}


async def test_a_log_that_cannot_be_mended_is_set_aside_and_copied_anew(
    autojump_clock: MockClock,
) -> None:
    """Only at the word of a leader that has all that was committed; no byte is thrown away."""
    async with world(autojump_clock, "a", "b", "c", log_options=SMALL) as w:
        await _filled(w)
        host, records = w["b"], w["a"].records()
        await host.crash()
        first = min(name for name in host.disk.listdir(DIRECTORY) if name.endswith(".log"))
        host.disk.damage(f"{DIRECTORY}/{first}", 8, bytes(16))
        await host.start()
        await _whole(host, records)
        await w.settled()
        [aside] = [name for name in host.disk.listdir("/d") if ASIDE in name]
        assert first in host.disk.listdir(f"/d/{aside}")
        assert host.copies.mended.set_aside == 1
        assert set(await w.fence(FIRST, 1)) == {"a", "b", "c"}


async def test_a_copy_whose_leader_lost_what_was_committed_is_set_aside(
    autojump_clock: MockClock,
) -> None:
    """As after an election of who was not in sync: it follows that leader, and keeps what it had."""
    async with world(autojump_clock, "a", "b", log_options=SMALL) as w:
        await _filled(w)
        host = w["b"]
        records = host.records()
        await w["a"].crash()
        begun = await host.copies._begin(BeginItem(1, 0, 2))
        item = AppendItem(1, 0, 2, begun.session, records[50].lsn, 0, 0, None, True, b"")
        assert (await host.copies._append(item)).status is Status.AGAIN
        assert len(host.records()) == len(records)
        with trio.fail_after(5):
            while (await host.copies._begin(BeginItem(1, 0, 2))).end_lsn != 0:  # noqa: ASYNC110
                await trio.sleep(0.1)
        [aside] = [name for name in host.disk.listdir("/d") if ASIDE in name]
        assert host.disk.listdir(f"/d/{aside}")
        assert host.copies.status(FIRST).high_watermark == 0  # type: ignore[union-attr]
        assert await w.fence(FIRST, 2) == {}


async def test_what_a_leader_lost_is_kept_if_a_newer_one_comes(autojump_clock: MockClock) -> None:
    """Which may have it."""
    async with world(autojump_clock, "a", "b", log_options=SMALL) as w:
        await _filled(w)
        host = w["b"]
        records = host.records()
        await w["a"].crash()
        begun = await host.copies._begin(BeginItem(1, 0, 2))
        item = AppendItem(1, 0, 2, begun.session, records[50].lsn, 0, 0, None, True, b"")
        await host.copies._append(item)
        host.copies._copies[1, 0].see(3)
        await trio.sleep(5)
        assert host.records() == records
        assert host.copies.status(FIRST).role == "follower"  # type: ignore[union-attr]
        assert (await host.copies._begin(BeginItem(1, 0, 3))).end_lsn == records[-1].next_lsn


async def test_a_copy_that_finds_no_room_for_its_log_is_opened_when_there_is(
    autojump_clock: MockClock,
) -> None:
    """Its node goes on meanwhile, and the others too."""
    async with world(autojump_clock, "a", "b", "c", log_options=SMALL, start=False) as w:
        w["c"].disk.capacity = 10
        for name in "abc":
            await w[name].start()
        assert await publish(await w.leader(), "one") == Placement(0)
        assert w["c"].copies.status(FIRST).role == "opening"  # type: ignore[union-attr]
        w["c"].disk.capacity = 1 << 30
        await trio.sleep(3)
        await w.settled()
        assert w["c"].records() == w["a"].records()


@pytest.mark.parametrize(
    ("reigns", "committed", "lsn", "believed"),
    [
        ([(1, 0), (2, 500)], 0, 300, True),  # equal, and further than the record
        ([(1, 0), (3, 500)], 0, 550, False),  # they part before it
        ([(1, 0), (3, 500)], 900, 500, True),  # they part where it begins, and it is committed
        ([(1, 0), (3, 500)], 590, 500, False),  # it is not
        ([(3, 0)], 900, 300, False),  # they have nothing in common
    ],
)
def test_who_is_believed(
    reigns: list[tuple[int, int]], committed: int, lsn: int, believed: bool
) -> None:
    """A log of epochs 1 and 2, up to 700; a record of 100 bytes."""
    mine = Extent(0, 700, [(1, 0), (2, 500)])
    answer = RecordAnswer(0, 900, reigns, committed, True, bytes(100))
    assert vouches(answer, mine, lsn, lsn + 100) is believed
