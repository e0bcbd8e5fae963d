"""Replicas through random misfortune, by seed: cuts, power cuts, stalls, changes of voters.

    python -m tests.raft.chaos --seeds 1000

Checked all the time: one leader a term, equal states at equal log positions, no way back. At the end, when
everything is healed: all voters agree, what was acknowledged is there, what was refused is not.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any
from zlib import crc32

import msgpack
from rich.progress import track

from chronosdb.raft import (
    ChangeVoters,
    CreateTopic,
    Message,
    MetadataFailedError,
    Options,
    Outcome,
    RefusedError,
    Replica,
    Request,
    Result,
)
from tests.raft.fake_storage import MemoryStorage

TICK_S = 0.05
SECONDS = 60.0
TOPICS_MAX = 150
VOTERS_MAX = 5


class Endpoint:
    """One node's `chronosdb.raft.Transport`."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name

    def send(self, peer: str, message: Message) -> bool:
        return self._world.send(self._name, peer, message)

    def has_room(self, peer: str) -> bool:
        return self._world.on_the_way[self._name, peer] < 64


class World:
    """Nodes, their disks, and the links between them; one number decides everything."""

    def __init__(self, seed: int, voters: int) -> None:
        self.rng = random.Random(seed)
        self.now_s = 0.0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.count = 0
        self.options = Options(compact_entries=self.rng.choice([8, 30, 5_000]))
        self.delays_s = self.rng.choice([(0.0005, 0.002), (0.001, 0.15)])
        self.disks: dict[str, MemoryStorage] = {}
        self.replicas: dict[str, Replica] = {}
        self.stalled: dict[str, float] = {}
        self.cut: set[tuple[str, str]] = set()
        #: Rises with each connection of a pair: what was sent on an older one is lost.
        self.epoch: dict[tuple[str, str], int] = defaultdict(int)
        self.arrival_s: dict[tuple[str, str], float] = defaultdict(float)
        self.on_the_way: dict[tuple[str, str], int] = defaultdict(int)
        self.first = tuple(f"n{i}" for i in range(voters))
        self.next_name = voters
        self.seq = 0
        self.outcomes: dict[str, list[Outcome]] = defaultdict(list)
        self.leaders: dict[int, str] = {}
        #: The state at each log position, as a checksum.
        self.states: dict[int, int] = {}
        #: How far each life of a node has come.
        self.applied: dict[Replica, int] = {}
        self.happened: Counter[str] = Counter()
        self.calm = False
        for name in self.first:
            self.boot(name)

    def at(self, delay_s: float, event: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.events, (self.now_s + delay_s, self.count, event))

    def run(self, until_s: float) -> None:
        while self.events and self.events[0][0] <= until_s:
            self.now_s, _, event = heapq.heappop(self.events)
            event()
        self.now_s = until_s

    def boot(self, name: str) -> None:
        """Start a node on the disk it has; one that is not of the first voters joins them."""
        disk = self.disks.setdefault(name, MemoryStorage())
        learner = name not in self.first
        peers = tuple(n for n in self.first if n != name)
        replica = Replica(
            disk,
            "d",
            node_id=name,
            peers=peers,
            learner=learner,
            transport=Endpoint(self, name),
            clock=lambda: self.now_s,
            rng=random.Random(self.rng.random()),
            options=self.options,
        )
        self.replicas[name] = replica
        for other in self.replicas:
            if other != name:
                self.connect(name, other)
                self.connect(other, name)
        self.tick(name, replica)

    def crash(self, name: str) -> None:
        del self.replicas[name]
        self.disks[name] = self.disks[name].after_power_cut()
        for other in list(self.replicas):
            self.disconnect(other, name)
            self.epoch[name, other] += 1

    def lose_power(self, name: str) -> None:
        """The disk failed in the middle of something: what was sent before is on its way."""
        assert self.disks[name].calls >= (self.disks[name]._fail_at or 0) > 0, "failed by itself"
        self.happened["power lost within a call"] += 1
        self.crash(name)
        self.at(self.rng.uniform(0.1, 2.0), lambda: self.boot_again(name))

    def boot_again(self, name: str) -> None:
        if name not in self.replicas:
            self.boot(name)

    def connect(self, sender: str, peer: str) -> None:
        if (sender, peer) not in self.cut and {sender, peer} <= self.replicas.keys():
            self.epoch[sender, peer] += 1
            self.arrival_s[sender, peer] = 0.0
            self.replicas[sender].connected(peer)

    def disconnect(self, sender: str, peer: str) -> None:
        self.epoch[sender, peer] += 1
        if sender in self.replicas:
            self.replicas[sender].disconnected(peer)

    def send(self, sender: str, peer: str, message: Message) -> bool:
        pair = (sender, peer)
        if pair in self.cut or peer not in self.replicas:
            return False
        arrival_s = max(self.now_s + self.rng.uniform(*self.delays_s), self.arrival_s[pair] + 1e-6)
        self.arrival_s[pair] = arrival_s
        self.on_the_way[pair] += 1
        blob = msgpack.packb(message)
        self.at(arrival_s - self.now_s, partial(self.deliver, pair, self.epoch[pair], blob))
        return True

    def deliver(self, pair: tuple[str, str], epoch: int, blob: bytes) -> None:
        sender, peer = pair
        self.on_the_way[pair] -= 1
        replica = self.replicas.get(peer)
        if replica is None or epoch != self.epoch[pair]:
            return
        if self.stalled.get(peer, 0.0) > self.now_s:  # It waits in the socket.
            self.on_the_way[pair] += 1
            later_s = self.stalled[peer] - self.now_s + 1e-9
            self.at(later_s, partial(self.deliver, pair, epoch, blob))
            return
        try:
            replica.deliver(sender, msgpack.unpackb(blob))
            self.look(peer, replica)
            if replica.wants_tick_soon:
                replica.tick()
                self.look(peer, replica)
        except MetadataFailedError:
            self.lose_power(peer)

    def tick(self, name: str, replica: Replica) -> None:
        if self.replicas.get(name) is not replica:
            return
        if self.stalled.get(name, 0.0) <= self.now_s:
            if self.stalled.pop(name, None) is not None:
                replica.resume()
            try:
                replica.tick()
                self.look(name, replica)
            except MetadataFailedError:
                self.lose_power(name)
        self.at(TICK_S, partial(self.tick, name, replica))

    def look(self, name: str, replica: Replica) -> None:
        """The invariants that hold at any time."""
        if replica.is_leader:
            first = self.leaders.setdefault(replica.term, name)
            assert first == name, f"term {replica.term} has two leaders: {first} and {name}"
        index = replica.applied_index
        before = self.applied.get(replica, 0)
        assert index >= before, f"{name} went back from entry {before} to {index}"
        if index == before:
            return
        self.applied[replica] = index
        state = crc32(msgpack.packb(replica._state.to_plain()))
        known = self.states.setdefault(index, state)
        assert known == state, f"{name} differs at entry {index}"

    def submit(self, name: str, command: Any, label: str) -> None:
        self.seq += 1
        request = Request("c", self.seq, int(self.now_s * 1000), command)
        self.resubmit(name, request, label)

    def resubmit(self, name: str, request: Request, label: str) -> None:
        def note(outcome: Outcome) -> None:
            self.outcomes[label].append(outcome)
            sure = isinstance(outcome, Result | RefusedError)
            if not sure and self.replicas and self.rng.random() < 0.5:
                other = self.rng.choice(sorted(self.replicas))
                self.at(0.1, lambda: self.retry(other, request, label))

        self.replicas[name].submit(request, note)

    def retry(self, name: str, request: Request, label: str) -> None:
        if name in self.replicas:
            self.resubmit(name, request, label)


class Nemesis:
    """What happens to the world."""

    def __init__(self, world: World) -> None:
        self.world = world
        #: Half of the lives are hasty: change follows upon change before the last is committed.
        self.is_hasty = world.rng.random() < 0.5
        self.deeds = [
            (6, self.cut_one_way),
            (6, self.cut_off),
            (10, self.heal),
            (8, self.crash_one),
            (1, self.crash_all),
            (8, self.cut_power),
            (4, self.stall),
            (4, self.reset),
            (60 if self.is_hasty else 10, self.change_voters),
            (4, self.transfer),
            (3, self.join),
        ]

    def load(self) -> None:
        world = self.world
        if world.calm:
            return
        leader = self._leader()
        name = world.rng.choice(sorted(world.replicas)) if world.replicas else None
        if leader is not None and world.rng.random() < 0.7:
            name = leader[0]
        if name is not None and len(world.outcomes) < TOPICS_MAX:
            label = f"t{world.seq + 1}"
            world.submit(name, CreateTopic(label, 1), label)
        world.at(world.rng.uniform(0.02, 0.4), self.load)

    def strike(self) -> None:
        world = self.world
        if world.calm:
            return
        weights, deeds = zip(*self.deeds, strict=True)
        deed = world.rng.choices(deeds, weights)[0]
        if deed():
            world.happened[deed.__name__] += 1
        world.at(world.rng.uniform(0.02, 0.3 if self.is_hasty else 2.0), self.strike)

    def cut_one_way(self) -> bool:
        a, b = self.world.rng.sample(sorted(self.world.disks), 2)
        self.cut(a, b)
        return True

    def cut_off(self) -> bool:
        one = self.world.rng.choice(sorted(self.world.disks))
        for other in self.world.disks:
            if other != one:
                self.cut(one, other)
                self.cut(other, one)
        return True

    def cut(self, a: str, b: str) -> None:
        self.world.cut.add((a, b))
        self.world.disconnect(a, b)

    def heal(self) -> bool:
        world = self.world
        cut, world.cut = sorted(world.cut), set()
        for pair in cut:
            world.connect(*pair)
        return bool(cut)

    def crash_one(self) -> bool:
        world = self.world
        if not world.replicas:
            return False
        self.crash(world.rng.choice(sorted(world.replicas)), world.rng.uniform(0.1, 4.0))
        return True

    def crash_all(self) -> bool:
        for name in sorted(self.world.replicas):
            self.crash(name, self.world.rng.uniform(0.1, 2.0))
        return True

    def crash(self, name: str, down_s: float) -> None:
        world = self.world
        world.crash(name)
        world.at(down_s, lambda: world.boot_again(name))

    def cut_power(self) -> bool:
        """At one of the next calls to some disks, with a torn write."""
        world = self.world
        for name in sorted(world.replicas):
            if world.rng.random() < 0.5:
                disk = world.disks[name]
                disk._fail_at = disk.calls + world.rng.randrange(1, 8)
                disk._landed = world.rng.randrange(0, 60)
        return True

    def stall(self) -> bool:
        world = self.world
        for name in sorted(world.replicas):
            if world.rng.random() < 0.5:
                world.stalled[name] = world.now_s + world.rng.uniform(0.5, 4.0)
        return True

    def reset(self) -> bool:
        a, b = self.world.rng.sample(sorted(self.world.disks), 2)
        self.world.disconnect(a, b)
        self.world.connect(a, b)
        return True

    def _leader(self) -> tuple[str, Replica] | None:
        leaders = [(n, r) for n, r in sorted(self.world.replicas.items()) if r.is_leader]
        return self.world.rng.choice(leaders) if leaders else None

    def change_voters(self) -> bool:
        found = self._leader()
        if found is None:
            return False
        name, leader = found
        rng, voters = self.world.rng, leader.voters
        if leader.voters_base == 0:
            change = voters
        elif rng.random() < 0.5 and len(voters) < VOTERS_MAX:
            change = (*voters, rng.choice(sorted(self.world.disks)))
        elif len(voters) > 1:
            gone = rng.choice(voters)
            change = tuple(one for one in voters if one != gone)
        else:
            return False
        command = ChangeVoters(tuple(sorted(set(change))), leader.voters_base)
        self.world.submit(name, command, "voters")
        return True

    def transfer(self) -> bool:
        found = self._leader()
        if found is None:
            return False
        try:
            found[1].transfer(self.world.rng.choice(sorted(self.world.disks)))
        except RefusedError:
            return False
        return True

    def join(self) -> bool:
        world = self.world
        if len(world.disks) >= VOTERS_MAX + 1 or not world.replicas:
            return False
        name = f"n{world.next_name}"
        world.next_name += 1
        world.boot(name)
        return True


def run(seed: int, voters: int = 3) -> World:
    """One life of a cluster; raises AssertionError if a promise was broken."""
    world = World(seed, voters)
    nemesis = Nemesis(world)
    world.at(0.5, nemesis.load)
    world.at(2.0, nemesis.strike)
    world.run(SECONDS)
    world.calm = True
    nemesis.heal()
    for disk in world.disks.values():
        disk._fail_at = None
    for name in sorted(world.disks.keys() - world.replicas.keys()):
        world.boot(name)
    world.run(SECONDS + 40.0)
    _check(world)
    return world


def _check(world: World) -> None:
    leaders = [r for r in world.replicas.values() if r.is_leader]
    assert len(leaders) == 1, f"{len(leaders)} leaders after everything was healed"
    (leader,) = leaders
    for name, replica in sorted(world.replicas.items()):
        if name in leader.voters:
            assert replica.view == leader.view, f"{name} has not caught up"
    there = set(leader.view.topics)
    for label, outcomes in world.outcomes.items():
        if any(isinstance(o, Result) and o.created for o in outcomes):
            assert label in there, f"{label} was acknowledged and is lost"
        elif all(isinstance(o, RefusedError) for o in outcomes):
            assert label not in there, f"{label} was refused and is there"


def main() -> int:
    """Run many seeds and say what happened."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    happened: Counter[str] = Counter()
    failed: dict[int, str] = {}
    for seed in track(range(arguments.first, arguments.first + arguments.seeds), "lives"):
        try:
            world = run(seed, voters=3 if seed % 2 else 5)
        except Exception as error:  # noqa: BLE001 - the summary names it, with its seed
            failed[seed] = f"{type(error).__name__}: {error}"
        else:
            happened += world.happened
            happened["acknowledged"] += sum(
                any(isinstance(o, Result) for o in found) for found in world.outcomes.values()
            )
            happened["changes of voters"] += sum(
                isinstance(o, Result) and o.ok for o in world.outcomes.get("voters", [])
            )
            happened["terms"] += len(world.leaders)
    sys.stdout.write(f"{arguments.seeds} lives, {len(failed)} bad; {dict(happened)}\n")
    for seed, why in failed.items():
        sys.stdout.write(f"  seed {seed}: {why}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
