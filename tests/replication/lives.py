"""Random lives of a replicated partition, by seed: publishers, a controller, and everything that goes wrong.

Throughout, whatever any copy takes for committed is compared with what any copy took for it before (I10,
I11); in the end everything heals, and what was acknowledged must be there, once, on all copies (I1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import trio
from trio.testing import MockClock

from chronosdb.node.partition import records
from chronosdb.node.partition.committer import CommitOptions
from chronosdb.node.partition.partition import Partition
from chronosdb.node.partition.proposals import Placement
from chronosdb.node.partition.records import Kind
from chronosdb.node.partition.retirement import RetentionLimits
from chronosdb.node.replication.options import ReplicationOptions
from chronosdb.testing.chance import Random
from chronosdb.wal import (
    DamagedRecord,
    Log,
    LogClosed,
    LogDamaged,
    LogMissing,
    LogOptions,
    OutOfRange,
    Record,
)
from tests.replication.cluster import FIRST, START_MS, Host, World, publish, world

_CHAOS_S: Final = 20.0
_HEAL_S: Final = 120.0


@dataclass(slots=True)
class Life:
    """What happened."""

    seed: int
    #: Message id → offset, of publishes that were acknowledged by a quorum or by all.
    acked: dict[str, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)


class Witness:
    """Has seen every record that any copy took for committed."""

    def __init__(self, w: World) -> None:
        self._world = w
        self._truth: dict[int, tuple[Any, ...]] = {}
        self._looked: dict[tuple[str, int], int] = {}
        self.high = 0

    def look(self) -> None:
        for host in self._world.running:
            assert host.life is not None
            copy = host.life.copies._copies.get((FIRST.topic_id, FIRST.partition))
            if copy is None or copy.log is None:
                continue
            with suppress(
                LogClosed, DamagedRecord
            ):  # it is becoming something else, or is mended now
                self._look_at(host, copy.log, copy.high_watermark)

    def _look_at(self, host: Host, log: Log, high_watermark: int) -> None:
        key = host.name, id(log)
        before = self._looked.get(key, 0)
        assert high_watermark <= log.end_lsn, (host.name, high_watermark, log.end_lsn)
        for record in log.scan(
            max(before, log.start_lsn), max(high_watermark, log.start_lsn, before)
        ):
            self.saw(host.name, record)
        self._looked[key] = max(high_watermark, before)
        self.high = max(self.high, high_watermark)

    def saw(self, who: str, record: Record) -> None:
        seen = _plain(record)
        known = self._truth.setdefault(record.lsn, seen)
        assert known == seen, f"{who} has {seen} at {record.lsn}, another had {known}"


def _plain(record: Record) -> tuple[Any, ...]:
    head = record.next_lsn, record.epoch, record.kind, record.offset, record.position, record.ts_ms
    return *head, bytes(record.body)


class Chaos:
    """One life."""

    def __init__(self, w: World, life: Life) -> None:
        self.w = w
        self.life = life
        self.random = Random(life.seed * 7919 + 1)
        self.witness = Witness(w)
        self.calm = False
        #: Which process each leader was elected in.
        self.elected: dict[str, Any] = {}
        self.next_id = 0
        self.now_busy = False

    # Publishers.

    async def publisher(self, number: int) -> None:
        random = Random(self.life.seed * 31 + number)
        while not self.calm:
            await trio.sleep(random.random() * 0.2)
            leading = self.w.leading()
            if not leading:
                continue
            _, partition = random.choice(leading)
            size = random.choice([1, 1, 2, 5])
            ids = [f"p{number}-{self.next_id + i}" for i in range(size)]
            self.next_id += size
            await self._publish(random, partition, ids)

    async def _publish(self, random: Random, partition: Partition, ids: list[str]) -> None:
        acks = random.choice([0, 1, 1, 1, 2])
        due_ms = START_MS + random.choice([0, 0, 3_000, 30_000, 10_000_000])
        payload = bytes(random.randint(0, 255) for _ in range(random.choice([3, 30, 300])))
        placed: object = None
        with trio.move_on_after(random.choice([0.05, 5, 60])):
            placed = await publish(partition, *ids, acks=acks, due_ms=due_ms, payload=payload)
        self.life.counts[type(placed).__name__] += 1
        if isinstance(placed, Placement) and acks:
            offsets = placed.offsets or range(placed.first_offset, placed.first_offset + len(ids))
            self.life.acked.update(zip(ids, offsets, strict=True))

    # The controller.

    async def controller(self) -> None:
        while True:
            await trio.sleep(0.1 + self.random.random() * 0.4)
            one = self.w.assignments[FIRST]
            host = self.w[one.leader] if one.leader else None
            life = host.life if host else None
            known = self.elected.get(one.leader)
            refused = life is not None and (1, 0, one.epoch) in life.lease.refusals
            restless = not self.calm and self.random.random() < 0.05
            if life is None or (known is not None and known is not life) or refused or restless:
                await self._elect()
            elif known is None:
                self.elected[one.leader] = life

    async def _elect(self) -> None:
        names = list(self.w.machines)
        deaf = not self.calm and self.random.random() < 0.3
        self.w.unheard = frozenset([self.random.choice(names)] if deaf else [])
        if not self.calm and self.random.random() < 0.2:
            # A controller that is lost half-way.
            await self.w.fence(FIRST, self.w.assignments[FIRST].epoch + 1)
            return
        winner = await self.w.elect(prefer=self.random.choice(names))
        self.life.counts["elections" if winner else "no election"] += 1
        if winner:
            self.elected = {winner: self.w[winner].life}

    # What goes wrong.

    async def nemesis(self) -> None:
        what: list[Callable[[], Any]] = [
            *[self.crash] * 3,
            *[self.start] * 4,
            *[self.cut] * 2,
            *[self.heal] * 3,
            self.lease,
            self.proposing,
            self.full,
            self.slow,
        ]
        while not self.calm:
            await trio.sleep(self.random.random() * 1.5)
            await self.random.choice(what)()

    async def crash(self) -> None:
        host = self.random.choice(list(self.w.machines.values()))
        if host.life is not None:
            self.life.counts["crashes"] += 1
            torn = self.random if self.random.random() < 0.7 else None
            await host.crash(torn)
            if self.random.random() < 0.2:
                host.views.delete_range(b"", b"\xff")

    async def start(self) -> None:
        host = self.random.choice(list(self.w.machines.values()))
        if host.life is None:
            await host.start()

    async def cut(self) -> None:
        names = list(self.w.machines)
        self.life.counts["cuts"] += 1
        if self.random.random() < 0.5:
            one, other = self.random.sample(names, 2)
            self.w.hosts.cut(one, other)
        else:
            one = self.random.choice(names)
            self.w.hosts.isolate(one, [n for n in names if n != one])

    async def heal(self) -> None:
        self.w.hosts.heal()

    async def lease(self) -> None:
        for host in self.w.running:
            assert host.life is not None
            host.life.lease.set(held=self.random.random() < 0.8)

    async def proposing(self) -> None:
        self.w.proposals = self.random.choice(["decided", "unknown", "lost", "refused", "decided"])

    async def full(self) -> None:
        host = self.random.choice(list(self.w.machines.values()))
        self.life.counts["full disks"] += 1
        self.fill(host, full=True)
        await trio.sleep(self.random.random() * 3)
        self.fill(host, full=False)

    def fill(self, host: Host, *, full: bool) -> None:
        host.disk.capacity = host.disk.used_bytes if full else 1 << 40

    async def slow(self) -> None:
        for host in self.w.running:
            assert host.life is not None
            pace = self.random.choice([0.0, 0.0, 0.001, 0.05])
            host.life.threads.delay_s = partial(self._delay_s, pace)

    def _delay_s(self, pace: float) -> float:
        return self.random.random() * pace

    async def rot(self) -> None:
        """Let bytes go wrong in one node's log, of records that another one has, and was told are durable."""
        victim = self.w[self.random.choice(list(self.w.machines))]
        if self.random.random() < 0.5:
            return
        while True:
            await trio.sleep(self.random.random() * 6)
            if self.calm:
                return
            with suppress(DamagedRecord, LogDamaged, LogMissing, OutOfRange):
                self._flip(victim)

    def _flip(self, victim: Host) -> None:
        mine = victim.records()
        others = [host for host in self.w.machines.values() if host is not victim]
        has = {r.lsn: r for r in self.random.choice(others).records()}
        durable_lsn = mine[-1].synced_lsn if mine else 0
        common = [r for r in mine if has.get(r.lsn) == r and r.next_lsn <= durable_lsn]
        # Towards the end: that is where who is started begins to read.
        if common and victim.flip(self.random.choice(common[-40:]), self.random.randint(0, 39)):
            self.life.counts["flipped"] += 1

    async def retain(self) -> None:
        """Let old segments go."""
        while True:
            await trio.sleep(1 + self.random.random())
            for host, partition in self.w.leading():
                if not partition.stopping and host.life is not None:
                    await partition.retirement.run(host.life.env.clock.now_ms())

    async def watch(self) -> None:
        while True:
            await trio.sleep(0.05 + self.random.random() * 0.1)
            self.witness.look()
            self.w.check()

    # The end.

    async def end(self) -> None:
        self.calm = True
        self.w.hosts.heal()
        self.w.proposals = "decided"
        self.w.unheard = frozenset()
        for host in self.w.machines.values():
            self.fill(host, full=False)
            if host.life is None:
                await host.start()
            assert host.life is not None
            host.life.lease.set(held=True)
            host.life.threads.delay_s = float
        leader = await self.w.leader(within_s=_HEAL_S)
        with trio.fail_after(_HEAL_S):
            while not isinstance(await publish(leader, f"last-{self.next_id}"), Placement):
                self.next_id += 1
                leader = await self.w.leader(within_s=_HEAL_S)
        await self.w.settled(within_s=_HEAL_S)
        with trio.fail_after(_HEAL_S):
            while not all(self._is_sound(host) for host in self.w.running):  # noqa: ASYNC110
                await trio.sleep(1)
        for host in self.w.running:
            mended = host.copies.mended
            self.life.counts["mended"] += mended.records
            self.life.counts["set aside"] += mended.set_aside
            # What the others deleted nobody has any more, and what was cut off nobody needs.
            assert not mended.set_aside or self.w.retention.nbytes, "it could have been mended"
        self.witness.look()
        # Somebody else may have been elected since.
        self._judge(await self.w.leader(within_s=_HEAL_S))

    def _is_sound(self, host: Host) -> bool:
        """Whether its copy has a log that can be read from end to end; who reads it sees to that."""
        assert host.life is not None
        log = host.life.copies._copies[FIRST.topic_id, FIRST.partition].log
        with suppress(DamagedRecord, OutOfRange, LogClosed):
            return log is not None and all(True for _ in log.scan())
        return False

    def _judge(self, leader: Partition) -> None:
        for host in self.w.running:
            ids: dict[int, str] = {}
            for record in host.records():
                self.witness.saw(host.name, record)
                if record.kind == Kind.PUBLISH:
                    for i, raw in enumerate(records.read_batch(record).ids()):
                        ids[record.offset + i] = raw.decode()
            assert len(set(ids.values())) == len(ids), "an id was stored twice"
            first = host.log().segments()[0].start.offset
            for name, offset in self.life.acked.items():
                assert offset < first or ids.get(offset) == name, f"{name} was acked at {offset}"
        self.life.counts["acked"] += len(self.life.acked)
        self._compare_views(leader)

    def _compare_views(self, leader: Partition) -> None:
        """Who followed knows what the leader knows."""
        wanted = leader.state.timers.pending.to_bytes()
        for host in self.w.running:
            assert host.life is not None
            copy = host.life.copies._copies[FIRST.topic_id, FIRST.partition]
            assert copy._open is not None
            state = copy._open.state
            assert state.timers.pending.to_bytes() == wanted, host.name
            start_lsn = max(copy._open.log.start_lsn, leader._log.start_lsn)
            reigns = [
                [reign for reign in one.epochs.reigns if reign.lsn > start_lsn]
                for one in (state, leader.state)
            ]
            assert reigns[0] == reigns[1], host.name


def _set_up(random: Random) -> dict[str, Any]:
    segment_bytes = random.choice([4096, 16 * 1024, 1024 * 1024])
    keep = random.random() < 0.5
    return {
        "log_options": LogOptions(
            segment_bytes=segment_bytes,
            max_record_bytes=segment_bytes // 2,
            allocate_min_bytes=4096,
            allocate_max_bytes=4096,
            disk_reserve_bytes=0,
        ),
        "commit": CommitOptions(
            checkpoint_interval_ms=random.choice([200, 2000, 30_000]),
            dedup_window_ms=1_000_000 if not keep else 1000,
            group_bytes=max(512, segment_bytes // 8),
        ),
        "retention": RetentionLimits(nbytes=2 * segment_bytes) if keep else RetentionLimits(),
        "options": ReplicationOptions(
            lag_max_ms=random.choice([500, 2000, 10_000]),
            append_bytes=random.choice([200, 2000, 1024 * 1024]),
            piece_bytes=random.choice([50, 500, 1024 * 1024]),
            catch_up_bytes_per_s=random.choice([0, 0, 20_000]),
        ),
        "min_insync": random.choice([1, 2]),
    }


async def live(clock: MockClock, seed: int, chaos_s: float) -> Life:
    """One life from its beginning to its judgement."""
    random = Random(seed)
    life = Life(seed)
    names = random.choice(["abc", "abc", "abc", "ab", "abcde"])
    async with world(clock, *names, seed=seed, **_set_up(random)) as w:
        chaos = Chaos(w, life)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(chaos.watch)
            nursery.start_soon(chaos.controller)
            nursery.start_soon(chaos.retain)
            async with trio.open_nursery() as wild:
                for number in range(3):
                    wild.start_soon(chaos.publisher, number)
                wild.start_soon(chaos.nemesis)
                wild.start_soon(chaos.rot)
                await trio.sleep(chaos_s)
                chaos.calm = True
            await chaos.end()
            nursery.cancel_scope.cancel()
    return life


def run(seed: int, chaos_s: float = _CHAOS_S) -> Life:
    """A life under virtual time, with so many seconds of it in which things go wrong."""
    clock = MockClock(autojump_threshold=0)
    result: Life = trio.run(live, clock, seed, chaos_s, clock=clock)
    return result
