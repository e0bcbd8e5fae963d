"""A node in memory: the real protocol session, no disk, no timers, and every fault at the test's command.

It keeps the promises that the client relies on (docs/protocol.md): one answer per request, dedup by
id, positions in order, leases that end with their connection, no delivery beyond the credits.
"""

from __future__ import annotations

import math
from array import array
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import anyio
from anyio.abc import ByteStream, TaskGroup
from anyio.streams.buffered import BufferedByteStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from anyio.streams.stapled import StapledObjectStream

from chronosdb.client import Client, Seams, connect
from chronosdb.client.background import background_tasks
from chronosdb.wire import BatchBuilder, EventBatch, Role, Session
from chronosdb.wire import messages as m
from chronosdb.wire.batch import NOW
from chronosdb.wire.errors import ChronosError, Conflict, LeaseLost, NotFound

M = TypeVar("M", bound=m.Message)

#: What a test puts in the place of the node's next answer to a message.
Script: TypeAlias = Callable[["Peer", m.Message], None]

WALL_MS = 1_700_000_000_000


@dataclass
class Stored:
    """One event: a batch of one, stored at `published_ms`."""

    batch: EventBatch
    offset: int
    published_ms: int
    fired: bool


@dataclass
class Partition:
    """Events by offset, and the order in which they fired."""

    events: list[Stored] = field(default_factory=list)
    by_id: dict[bytes, Stored] = field(default_factory=dict)
    fired: list[Stored] = field(default_factory=list)

    def store(self, batch: EventBatch, i: int, now_ms: int) -> tuple[int, bool]:
        """Where event `i` is, and whether it was there before."""
        message_id = batch.message_id(i)
        if old := self.by_id.get(message_id):
            if not batch.same_content(i, old.batch, 0):
                raise Conflict(f"id {message_id!r} is taken by another event")
            return old.offset, True
        one = BatchBuilder()
        one.add(batch, i, i + 1)
        due = now_ms if batch.due[i] == NOW else batch.due[i]
        stamped = EventBatch(one.build()).with_due(due.to_bytes(8, "little", signed=True))
        stored = Stored(stamped, len(self.events), now_ms, fired=False)
        self.events.append(stored)
        self.by_id[message_id] = stored
        return stored.offset, False

    def fire(self, now_ms: int) -> None:
        """Give every due event its position."""
        due = [e for e in self.events if not e.fired and e.batch.due[0] <= now_ms]
        for event in sorted(due, key=lambda e: (e.batch.due[0], e.offset)):
            event.fired = True
            self.fired.append(event)


@dataclass
class Lease:
    member: Member
    attempt: int


@dataclass
class Cursor:
    """A group's progress in one partition."""

    settled: set[int] = field(default_factory=set)
    attempts: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    leases: dict[int, Lease] = field(default_factory=dict)


@dataclass(eq=False)
class Member:
    peer: Peer
    subscription: int
    topic: str
    group: str
    credits: int


class Peer:
    """The node's end of one connection."""

    def __init__(self, node: FakeNode, out: MemoryObjectSendStream[bytes]) -> None:
        self.node = node
        self.hello: m.Hello | None = None
        self._session = Session(Role.SERVER)
        self._out = out

    def say(self, *messages: m.Message) -> None:
        """Send messages; a peer that is gone hears nothing."""
        self.say_bytes(b"".join(self._session.send(message) for message in messages))

    def say_bytes(self, data: bytes) -> None:
        """Send bytes that may be no message."""
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._out.send_nowait(data)

    def cut(self) -> None:
        """Break the connection without a word."""
        self._out.close()
        self.node.forget(self)

    async def serve(self, incoming: MemoryObjectReceiveStream[bytes]) -> None:
        """Answer until either side ends the connection."""
        with incoming, self._out:
            async for data in incoming:
                self._session.receive_data(data)
                while (message := self._session.next_message()) is not None:
                    self.node.handle(self, message)
        self.node.forget(self)


class FakeNode:
    """One node, reached through `dial` instead of a network."""

    def __init__(self, tasks: TaskGroup) -> None:
        self.now_ms = WALL_MS
        #: Every message of every client, in order of arrival.
        self.received: list[m.Message] = []
        #: Every address dialled.
        self.dialled: list[tuple[str, int]] = []
        #: While True nobody can connect.
        self.down = False
        self.peers: list[Peer] = []
        self.members: list[Member] = []
        self.topics: dict[str, m.TopicInfo] = {}
        self._scripts: dict[type[m.Message], deque[Script]] = defaultdict(deque)
        self._partitions: dict[tuple[str, int], Partition] = defaultdict(Partition)
        self._cursors: dict[tuple[str, int, str], Cursor] = defaultdict(Cursor)
        self._tasks = tasks

    # ---- the test's side ---------------------------------------------------------------------

    async def dial(self, host: str, port: int) -> ByteStream:
        """The stream factory to give to `connect`."""
        self.dialled.append((host, port))
        if self.down:
            raise ConnectionRefusedError(f"nobody listens at {host}:{port}")
        to_node, from_client = anyio.create_memory_object_stream[bytes](math.inf)
        to_client, from_node = anyio.create_memory_object_stream[bytes](math.inf)
        peer = Peer(self, to_client)
        self.peers.append(peer)
        self._tasks.start_soon(peer.serve, from_client)
        return BufferedByteStream(StapledObjectStream(to_node, from_node))

    def script(self, kind: type[m.Message], *scripts: Script) -> None:
        """Replace the next answers to messages of `kind`."""
        self._scripts[kind].extend(scripts)

    def got(self, kind: type[M]) -> list[M]:
        """The messages of `kind` that arrived."""
        return [message for message in self.received if isinstance(message, kind)]

    def cut_all(self) -> None:
        """Break every connection."""
        for peer in list(self.peers):
            peer.cut()

    def advance(self, ms: int) -> None:
        """Let wall time pass."""
        self.now_ms += ms
        self._deliver()

    def forget(self, peer: Peer) -> None:
        """A connection has ended: its leases go back."""
        if peer in self.peers:
            self.peers.remove(peer)
        for member in [member for member in self.members if member.peer is peer]:
            self._leave(member)
        self._deliver()

    def cursor(self, topic: str, partition: int, group: str) -> Cursor:
        """A group's progress."""
        return self._cursors[topic, partition, group]

    # ---- the protocol's side -------------------------------------------------------------------

    def handle(self, peer: Peer, message: m.Message) -> None:
        """Answer one message."""
        self.received.append(message)
        if scripts := self._scripts[type(message)]:
            scripts.popleft()(peer, message)
            return
        try:
            self._answer(peer, message)
        except ChronosError as error:
            peer.say(failed(message, error))
        self._deliver()

    def _answer(self, peer: Peer, message: m.Message) -> None:
        match message:
            case m.Hello():
                peer.hello = message
                peer.say(m.Welcome(1, "cluster", "node", self.now_ms, 16 * 2**20))
            case m.Ping():
                peer.say(m.Pong(message.request, self.now_ms))
            case m.CreateTopic():
                peer.say(self._create(message))
            case m.DescribeTopic():
                peer.say(m.TopicReply(message.request, self._topic(message.name)))
            case m.ListTopics():
                topics = [self.topics[name] for name in sorted(self.topics)]
                peer.say(m.TopicsReply(message.request, topics))
            case m.Publish():
                peer.say(self._publish(message))
            case m.Get():
                peer.say(self._get(message))
            case _:
                self._answer_member(peer, message)

    def _answer_member(self, peer: Peer, message: m.Message) -> None:
        match message:
            case m.Subscribe():
                self._topic(message.topic)
                peer.say(m.Done(message.request))
                its = message
                self.members.append(
                    Member(peer, its.subscription, its.topic, its.group, its.credits)
                )
            case m.Unsubscribe():
                self._leave(self._member(peer, message.subscription))
                peer.say(m.Done(message.request))
            case m.Credit():
                self._member(peer, message.subscription).credits += message.credits
            case m.Ack():
                cursor = self._cursor_of(peer, message)
                for start, stop in pairs(message.runs):
                    cursor.settled.update(range(start, stop))
                    for position in range(start, stop):
                        cursor.leases.pop(position, None)
                peer.say(m.Done(message.request))
            case m.Nack() | m.Extend():
                self._leased(peer, message)
                peer.say(m.Done(message.request))

    def _create(self, message: m.CreateTopic) -> m.TopicReply:
        leaders = [""] * message.partitions
        wanted = m.TopicInfo(
            message.name, message.partitions, message.settings, leaders, self.now_ms
        )
        there = self.topics.setdefault(message.name, wanted)
        if (there.partitions, there.settings) != (wanted.partitions, wanted.settings):
            raise Conflict(f"topic {message.name} exists with {there.partitions} partitions")
        return m.TopicReply(message.request, there, created=there is wanted)

    def _publish(self, message: m.Publish) -> m.Published:
        self._topic(message.topic)
        batch = EventBatch(message.batch)
        batch.check_limits()
        partition = self._partitions[message.topic, message.partition]
        found = [partition.store(batch, i, self.now_ms) for i in range(batch.count)]
        if not any(duplicate for _, duplicate in found):
            return m.Published(message.request, found[0][0])
        offsets = array("q", [offset for offset, _ in found]).tobytes()
        return m.Published(message.request, 0, offsets, bytes(dup for _, dup in found))

    def _get(self, message: m.Get) -> m.GetReply:
        self._topic(message.topic)
        event = self._partitions[message.topic, message.partition].by_id.get(message.message_id)
        if event is None:
            return m.GetReply(message.request, "")
        state = "fired" if event.fired else "pending"
        return m.GetReply(
            message.request, state, event.offset, event.published_ms, event.batch.blob
        )

    def _leased(self, peer: Peer, message: m.Nack | m.Extend) -> None:
        cursor = self._cursor_of(peer, message)
        lease = cursor.leases.get(message.position)
        if lease is None or lease.member.peer is not peer or lease.attempt != message.attempt:
            raise LeaseLost("another member has it now")
        if isinstance(message, m.Nack):
            del cursor.leases[message.position]

    def _deliver(self) -> None:
        for (topic, number), partition in self._partitions.items():
            partition.fire(self.now_ms)
            for member in self.members:
                if member.topic == topic and member.credits:
                    self._deliver_to(member, number, partition)

    def _deliver_to(self, member: Member, number: int, partition: Partition) -> None:
        cursor = self._cursors[member.topic, number, member.group]
        taken = cursor.settled | cursor.leases.keys()
        free = [position for position in range(len(partition.fired)) if position not in taken]
        if positions := free[: member.credits]:
            member.credits -= len(positions)
            for position in positions:
                cursor.attempts[position] += 1
                cursor.leases[position] = Lease(member, cursor.attempts[position])
            member.peer.say(
                deliver(
                    member.subscription,
                    number,
                    self.now_ms,
                    positions=positions,
                    attempts=[cursor.attempts[position] for position in positions],
                    events=[partition.fired[position] for position in positions],
                )
            )

    def _topic(self, name: str) -> m.TopicInfo:
        if name not in self.topics:
            raise NotFound(f"no topic {name}: create it first")
        return self.topics[name]

    def _member(self, peer: Peer, subscription: int) -> Member:
        for member in self.members:
            if member.peer is peer and member.subscription == subscription:
                return member
        raise NotFound(f"no subscription {subscription}")

    def _cursor_of(self, peer: Peer, message: m.Ack | m.Nack | m.Extend) -> Cursor:
        member = self._member(peer, message.subscription)
        return self._cursors[member.topic, message.partition, member.group]

    def _leave(self, member: Member) -> None:
        self.members.remove(member)
        for cursor in self._cursors.values():
            for position in [p for p, lease in cursor.leases.items() if lease.member is member]:
                del cursor.leases[position]


def deliver(
    subscription: int,
    partition: int,
    sent_ms: int,
    *,
    positions: Sequence[int],
    attempts: Sequence[int],
    events: Sequence[Stored],
) -> m.Deliver:
    """The frame that carries `events`."""
    batch = BatchBuilder()
    for event in events:
        batch.add(event.batch, 0, 1)
    return m.Deliver(
        subscription,
        partition,
        sent_ms,
        memoryview(array("q", positions).tobytes()),
        memoryview(array("q", [event.offset for event in events]).tobytes()),
        memoryview(array("q", [event.published_ms for event in events]).tobytes()),
        memoryview(array("H", attempts).tobytes()),
        memoryview(batch.build()),
    )


def one_delivery(**columns: bytes) -> m.Deliver:
    """A frame of one event that nobody published, with some columns replaced."""
    event = bytes.fromhex("01000000") + bytes(8 + 4 + 4 + 2) + b"\x01\x00a"
    whole = {
        "positions": array("q", [0]).tobytes(),
        "offsets": array("q", [0]).tobytes(),
        "published": array("q", [0]).tobytes(),
        "attempts": array("H", [1]).tobytes(),
        "batch": event,
        **columns,
    }
    return m.Deliver(1, 0, 0, **{name: memoryview(raw) for name, raw in whole.items()})


def pairs(runs: memoryview) -> Iterable[tuple[int, int]]:
    """The runs of an Ack."""
    numbers = runs.cast("B").cast("q").tolist()
    return zip(numbers[0::2], numbers[1::2], strict=True)


def failed(message: m.Message, error: ChronosError) -> m.Failed:
    """The answer that says `error`."""
    request: int = getattr(message, "request", 0)
    return m.Failed(request, error.code, error.message, error.retryable, error.details)


def fails_with(error: ChronosError) -> Script:
    """A script: answer with `error`."""
    return lambda peer, message: peer.say(failed(message, error))


def cuts(peer: Peer, _message: m.Message) -> None:
    """A script: break the connection instead of answering."""
    peer.cut()


def stays_silent(_peer: Peer, _message: m.Message) -> None:
    """A script: never answer."""


@asynccontextmanager
async def running_node() -> AsyncIterator[FakeNode]:
    """A node for the length of a block."""
    async with background_tasks() as tasks:
        yield FakeNode(tasks)


@asynccontextmanager
async def client_of(node: FakeNode, *, timeout_s: float = 10.0) -> AsyncIterator[Client]:
    """A client of `node`, with its clock and with waits of the longest length."""
    seams = Seams(now_ms=lambda: node.now_ms, unit=lambda: 0.0)
    async with connect("node", timeout=timeout_s, stream_factory=node.dial, seams=seams) as client:
        yield client


@asynccontextmanager
async def node_and_client(
    topic: str = "orders", partitions: int = 1
) -> AsyncIterator[tuple[FakeNode, Client]]:
    """A node with one topic, and a client of it."""
    async with running_node() as node, client_of(node) as client:
        await client.create_topic(topic, partitions)
        yield node, client
