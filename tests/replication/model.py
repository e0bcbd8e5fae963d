"""The replication protocol in 150 lines: leaders, followers, fences, elections, changes of the ISR.

Only what decides whether a committed record can be lost: logs are lists of (epoch, number), a message is
delivered or lost at the moment when it is sent, power cuts spare what is synced. The rules themselves
are the product's (`quorum.py`, `epochs.py`); each can be broken, to see that it is needed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from chronosdb.node.partition.epochs import EpochHistory, Extent, agreement
from chronosdb.node.replication.quorum import grown, quorum, shrunk, watermark
from chronosdb.testing.chance import Random

Entry = tuple[int, int]

#: Every rule that a committed record's life depends on; `Model(broken=…)` breaks one of them.
RULES: Final = (
    "followers refuse older epochs once they have promised",
    "an election hears of every quorum",
    "the longest log of the newest epoch wins",
    "a leader counts what is synced, not what is written",
    "a leader counts only with a record of its own epoch",
    "both ISRs count while a change of it is undecided",
    "nobody leaves the ISR unless the rest has what is committed",
    "nobody enters the ISR before it has what is committed",
    "a follower cuts back what its leader does not have",
    "an election leaves the ISR as it was",
)


class Lost(AssertionError):
    """A record that was committed is not in the log of a later leader."""


@dataclass
class Node:
    """One replica."""

    name: str
    log: list[Entry] = field(default_factory=list)
    synced: int = 0
    #: Leaders of epochs below this are refused.
    floor: int = 0
    #: As a leader: its epoch (0: it does not lead), what it knows of others, the two ISRs, its HW.
    epoch: int = 0
    matches: dict[str, int] = field(default_factory=dict)
    isr: tuple[str, ...] = ()
    version: int = 0
    proposed: tuple[str, ...] | None = None
    begin: int = 0
    high: int = 0


class Model:
    """Some replicas and the metadata."""

    def __init__(self, names: str, random: Random, *, broken: str = "") -> None:
        assert broken in {"", *RULES}
        self.random = random
        self.broken = broken
        self.nodes = {name: Node(name) for name in names}
        self.names = tuple(names)
        self.isr: tuple[str, ...] = tuple(names)
        self.epoch = 0
        self.version = 0
        #: Proposals that may still be decided: (version they change, ISR).
        self.proposals: list[tuple[int, tuple[str, ...]]] = []
        #: Everything that any leader ever counted as committed.
        self.committed: list[Entry] = []
        self.counter = 0
        #: Leaders come and go before they get anything done.
        self.restless = random.random() < 0.3

    def keeps(self, rule: str) -> bool:
        assert rule in RULES
        return rule != self.broken

    def step(self) -> None:
        """Anything that can happen next."""
        actions = [self.elect, self.crash, self.propose, self.decide]
        if self.restless:
            actions = [*[self.elect] * 3, self.send, self.sync, self.write]
        else:
            actions += [*[self.write] * 3, *[self.send] * 6, *[self.sync] * 3]
        self.random.choice(actions)()

    # The metadata.

    def elect(self) -> None:
        heard = [n for n in self.isr if self.random.random() < 0.6]
        needed = len(self.isr) - quorum(len(self.isr)) + 1
        if not self.keeps("an election hears of every quorum"):
            needed = 1
        epoch = self.epoch + 1
        for name in heard:
            self._see(self.nodes[name], epoch)
        if len(heard) < needed:
            return
        winner = self.random.choice(heard)
        if self.keeps("the longest log of the newest epoch wins"):
            winner = max(heard, key=lambda name: self._standing(self.nodes[name]))
        self.epoch = epoch
        self.version += 1
        if not self.keeps("an election leaves the ISR as it was"):
            self.isr = tuple(heard)
        self._lead(self.nodes[winner])

    def decide(self) -> None:
        """A proposal gets to the metadata, perhaps late."""
        if self.proposals:
            i = self.random.randint(0, len(self.proposals) - 1)
            version, isr = self.proposals.pop(i)
            if version == self.version:
                self.isr = isr
                self.version += 1

    def _standing(self, node: Node) -> tuple[int, int]:
        log = node.log[: node.synced]
        return (log[-1][0] if log else 0, len(log))

    # A leader.

    def _lead(self, node: Node) -> None:
        lost = [entry for entry in self.committed if entry not in node.log]
        if lost:
            raise Lost(f"{node.name} leads epoch {self.epoch} without {lost}")
        node.epoch = self.epoch
        node.floor = max(node.floor, self.epoch)
        node.isr, node.version, node.proposed = self.isr, self.version, None
        node.matches = {}
        node.begin = len(node.log)
        node.high = 0
        self._append(node)

    def _append(self, node: Node) -> None:
        self.counter += 1
        node.log.append((node.epoch, self.counter))

    def write(self) -> None:
        for node in self._leaders():
            self._append(node)

    def sync(self) -> None:
        node = self.nodes[self.random.choice(self.names)]
        node.synced = len(node.log)
        if node.epoch:
            self._count(node)

    def _count(self, node: Node) -> None:
        written = not self.keeps("a leader counts what is synced, not what is written")
        node.matches[node.name] = len(node.log) if written else node.synced
        isrs = [node.isr]
        if node.proposed and self.keeps("both ISRs count while a change of it is undecided"):
            isrs.append(node.proposed)
        elif node.proposed:
            isrs = [node.proposed]
        reached = watermark(isrs, node.matches, node.name)
        own = self.keeps("a leader counts only with a record of its own epoch")
        if reached > node.high and (reached > node.begin or not own):
            for entry in node.log[node.high : reached]:
                if entry not in self.committed:
                    self.committed.append(entry)
            node.high = reached

    def propose(self) -> None:
        for node in self._leaders():
            if node.version != self.version and self.random.random() < 0.7:
                # It hears of what the metadata are.
                if self.epoch == node.epoch:
                    node.isr, node.version, node.proposed = self.isr, self.version, None
                continue
            high = max(node.high, node.begin)
            others = [name for name in node.isr if name != node.name]
            matches = node.matches
            if self.random.random() < 0.5 and others:
                if not self.keeps("nobody leaves the ISR unless the rest has what is committed"):
                    matches = dict.fromkeys(self.names, len(node.log))
                wanted = shrunk(node.isr, [self.random.choice(others)], matches, high, 1)
            else:
                if not self.keeps("nobody enters the ISR before it has what is committed"):
                    matches = dict.fromkeys(self.names, len(node.log))
                wanted = grown(node.isr, self.names, self.names, matches, high)
            wanted = node.proposed or wanted
            if wanted != node.isr:
                node.proposed = wanted
                self.proposals.append((node.version, wanted))

    # Followers.

    def send(self) -> None:
        """A leader sends a follower some of what it lacks; the answer may be lost."""
        leaders = self._leaders()
        if not leaders:
            return
        leader = self.random.choice(leaders)
        others = [name for name in self.names if name != leader.name]
        follower = self.nodes[self.random.choice(others)]
        if leader.epoch < follower.floor and self.keeps(
            "followers refuse older epochs once they have promised"
        ):
            self._depose(leader)
            return
        self._see(follower, leader.epoch)
        lsn = agreement(_extent(leader.log), _extent(follower.log))
        assert lsn is not None
        if self.keeps("a follower cuts back what its leader does not have"):
            follower.log = follower.log[:lsn]
        count = self.random.randint(0, 3)
        follower.log[lsn : lsn + count] = leader.log[lsn : lsn + count]
        follower.synced = len(follower.log)
        if self.random.random() < 0.8:
            known = leader.matches.get(follower.name, 0)
            leader.matches[follower.name] = max(known, min(lsn + count, len(leader.log)))
            self._count(leader)

    def _see(self, node: Node, epoch: int) -> None:
        node.floor = max(node.floor, epoch)
        if node.epoch < epoch and self.keeps(
            "followers refuse older epochs once they have promised"
        ):
            self._depose(node)
        node.synced = max(node.synced, 0)

    def _depose(self, node: Node) -> None:
        node.epoch = 0
        node.synced = len(node.log)

    def crash(self) -> None:
        """Power is lost, and comes back: what was synced is there, and some of what was not."""
        node = self.nodes[self.random.choice(self.names)]
        del node.log[self.random.randint(node.synced, len(node.log)) :]
        node.synced = len(node.log)
        node.epoch = 0

    def _leaders(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.epoch]


def _extent(log: list[Entry]) -> Extent:
    history = EpochHistory()
    for lsn, (epoch, _) in enumerate(log):
        if epoch > history.last:
            history.note(epoch, lsn)
    return Extent(0, len(log), history.reigns)


def run(seed: int, steps: int, *, broken: str = "") -> Model:
    """A life of some steps. Raises Lost."""
    random = Random(seed)
    model = Model(random.choice(["ab", "abc", "abc", "abcd", "abcde"]), random, broken=broken)
    model.elect()
    for _ in range(steps):
        model.step()
    return model
