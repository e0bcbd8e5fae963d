"""All copies of partitions on this node, and what other nodes may ask of them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeVar

import trio

from chronosdb.node.environment import Environment
from chronosdb.node.partition.opening import OpenPartition
from chronosdb.node.partition.partition import Partition, PartitionId
from chronosdb.node.peers.calls import Calls, Method
from chronosdb.node.peers.peers import Peers
from chronosdb.node.replication.assignment import Assignment, LeaseView, Propose
from chronosdb.node.replication.copy import Copy
from chronosdb.node.replication.fences import Fences
from chronosdb.node.replication.leader import TermHooks, TermOwner
from chronosdb.node.replication.mending import Mended, Mender, answer_record
from chronosdb.node.replication.messages import (
    Append,
    AppendAnswer,
    Appended,
    AppendItem,
    BadMessage,
    Begin,
    BeginAnswer,
    BeginItem,
    Begun,
    Fence,
    Fenced,
    Handover,
    RecordAnswer,
    RecordItem,
    Status,
    decode,
    encode,
)
from chronosdb.node.replication.options import ReplicationOptions
from chronosdb.node.replication.owner import CopyOwner
from chronosdb.node.replication.sender import Sender
from chronosdb.wal import DiskFull

logger = logging.getLogger(__name__)

Q = TypeVar("Q")
A = TypeVar("A")

#: Partitions of one call that are worked at at a time.
_AT_ONCE: Final = 16
#: So often it is looked whether damage was met.
_MEND_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class CopyStatus:
    """One copy, now."""

    #: "leader", "follower", or "opening" while it becomes one or the other; "damaged" until it is mended.
    role: str
    #: The newest that it knows of.
    epoch: int
    high_watermark: int
    end_lsn: int
    #: Of a leader: how many bytes each follower is behind.
    lag: dict[str, int] = field(default_factory=dict)


class Copies:
    """One node's."""

    def __init__(
        self,
        env: Environment,
        me: str,
        *,
        calls: Calls,
        peers: Peers,
        fences_path: str,
        propose: Propose,
        lease: LeaseView,
        options: ReplicationOptions | None = None,
    ) -> None:
        """Read what this node has promised.

        Raises:
            ConfigError: the file of promises cannot be read.
        """
        self._env = env
        self._calls = calls
        self._peers = peers
        self._lease = lease
        self._options = options or ReplicationOptions()
        self._fences = Fences(env.disk, fences_path)
        self._promising = trio.Lock()
        self._copies: dict[tuple[int, int], Copy] = {}
        self._senders: dict[str, Sender] = {}
        self._nursery: trio.Nursery | None = None
        self._stopping = trio.Event()
        #: Told of a partition that is about to be served: all that is committed is applied, and
        #: nothing new is.
        self.on_opened: Callable[[Partition], None] = lambda _partition: None
        #: Told of a partition that this node serves from now on.
        self.on_led: Callable[[Partition], None] = lambda _partition: None
        #: Told of each of those once, when it takes in and delivers nothing more.
        self.on_deposed: Callable[[Partition], None] = lambda _partition: None
        # They are set after this.
        hooks = TermHooks(
            lambda partition: self.on_opened(partition),  # noqa: PLW0108
            lambda partition: self.on_led(partition),  # noqa: PLW0108
            lambda partition: self.on_deposed(partition),  # noqa: PLW0108
        )
        term = TermOwner(me, lease, self._sender, self._options.piece_bytes, hooks)
        self._owner = CopyOwner(
            env.threads,
            term,
            propose,
            self._options.lag_max_ms / 1000,
            self._fences,
            self._promising,
            set(),
            Mender(me, calls, env.threads),
        )
        lease.watch(self._lease_changed)
        peers.watch(self._peer_is_up, lambda _peer: None)
        calls.serve("begin", _method(Begin, self._answer_begin))
        calls.serve("append", _method(Append, self._answer_append))
        calls.serve("fence", _method(Fence, self.fence))
        calls.serve("handover", _method(Handover, self.handover))
        calls.serve("record", _method(RecordItem, self._record))

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep what is held, until `stop`.

        Raises:
            LogFailed: the disk failed.
        """
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._mend_noticed)
            task_status.started()
            await self._stopping.wait()
            nursery.cancel_scope.cancel()

    async def stop(self) -> None:
        """Let leaders finish what is queued, save all views, close all logs; `run` returns then."""
        copies = list(self._copies.values())
        for copy in copies:
            copy.stop()
        for copy in copies:
            await copy.closed.wait()
        self._stopping.set()

    async def hold(
        self, identity: PartitionId, assignment: Assignment, opened: OpenPartition
    ) -> None:
        """Hold a copy from now on; returns when it is open, or found to be damaged."""
        key = _key(identity)
        assert key not in self._copies, identity
        assert self._nursery is not None
        copy = Copy(self._owner, opened, assignment)
        await copy.open()
        # A file that is being opened is opened to the end, also if the node gives up its start meanwhile.
        await trio.lowlevel.checkpoint_if_cancelled()
        self._copies[key] = copy
        self._nursery.start_soon(copy.run)

    def assign(self, identity: PartitionId, assignment: Assignment) -> None:
        """The metadata say something new of a partition that is held."""
        self._copies[_key(identity)].assign(assignment)

    async def drop(self, identity: PartitionId) -> None:
        """Hold it no more; returns when its log is closed. Its files are the caller's."""
        copy = self._copies.pop(_key(identity))
        copy.drop()
        await copy.closed.wait()
        # What cannot be written now is remembered for nothing.
        async with self._promising:
            with suppress(DiskFull):
                await self._env.threads.run(self._fences.forget, identity.directory)

    def held(self) -> list[PartitionId]:
        """All that is held, in order."""
        return [self._copies[key].identity for key in sorted(self._copies)]

    def leading(self, identity: PartitionId) -> Partition | None:
        """The partition, if this node serves it, and may just now."""
        copy = self._copies.get(_key(identity))
        return copy.partition if copy is not None and self._lease.held else None

    def status(self, identity: PartitionId) -> CopyStatus | None:
        """How a copy does; None: it is not held."""
        copy = self._copies.get(_key(identity))
        if copy is None:
            return None
        term, log = copy.leadership, copy.log
        role = "leader" if copy.partition else "opening" if term or log is None else "follower"
        role = "damaged" if copy.is_damaged else role
        end_lsn = 0 if log is None else log.end_lsn
        lag = {} if term is None else term.lag()
        return CopyStatus(role, copy.floor, copy.high_watermark, end_lsn, lag)

    async def fence(self, fence: Fence) -> Fenced:
        """Refuse everything below these epochs from now on, and say how far the copies are.

        Raises:
            LogFailed: the disk failed.
        """
        held = [
            (copy, epoch)
            for topic_id, index, epoch in fence.wants
            if (copy := self._copies.get((topic_id, index))) is not None
        ]
        for copy, epoch in held:
            copy.see(epoch)
        async with self._promising:
            wants = {copy.identity.directory: epoch for copy, epoch in held}
            try:
                await self._env.threads.run(self._fences.promise, wants)
            except DiskFull:
                return Fenced([])
        standings = await _each(_standing, held)
        return Fenced([standing for standing in standings if standing is not None])

    async def handover(self, handover: Handover) -> bool:
        """Let another node become level with this leader, and write nothing more for a second.

        True: it is. False: this node leads on, or does not lead.
        """
        copy = self._copies.get((handover.topic_id, handover.partition))
        term = None if copy is None else copy.leadership
        if term is None or term.epoch != handover.epoch:
            return False
        return await term.hand_over(handover.to)

    @property
    def mended(self) -> Mended:
        """What became of damage on this node since it was started."""
        return self._owner.mender.mended

    async def _record(self, item: RecordItem) -> RecordAnswer:
        copy = self._copies.get((item.topic_id, item.partition))
        if copy is None or copy.opened is None:
            return RecordAnswer(0, 0, [], 0, True, b"")
        committed_lsn, piece_bytes = copy.high_watermark, self._options.piece_bytes
        run = self._env.threads.run
        return await run(answer_record, copy.opened, item, committed_lsn, piece_bytes)

    async def _mend_noticed(self) -> None:
        """See to what was met while reading, by whomever, until cancelled."""
        while True:
            await trio.sleep(_MEND_S)
            for copy in list(self._copies.values()):
                opened = copy.opened
                if opened is not None and opened.log.damage is not None:
                    await copy.mend_record(opened, opened.log.damage.lsn)
                    # In vain or not: whoever meets it again will make it known.
                    opened.log.forget_damage()

    async def _begin(self, item: BeginItem) -> BeginAnswer:
        copy = self._copies.get((item.topic_id, item.partition))
        return BeginAnswer(Status.ABSENT, 0) if copy is None else await copy.begin(item)

    async def _append(self, item: AppendItem) -> AppendAnswer:
        copy = self._copies.get((item.topic_id, item.partition))
        return AppendAnswer(Status.ABSENT, 0) if copy is None else await copy.append(item)

    async def _answer_begin(self, begin: Begin) -> Begun:
        return Begun(await _each(self._begin, begin.items))

    async def _answer_append(self, append: Append) -> Appended:
        return Appended(await _each(self._append, append.items))

    def _sender(self, node: str) -> Sender:
        """What sends to a node; made when it is first needed."""
        if node not in self._senders:
            sender = Sender(self._env.threads, node, self._calls, self._peers, self._options)
            self._senders[node] = sender
            assert self._nursery is not None
            self._nursery.start_soon(sender.run)
        return self._senders[node]

    def _peer_is_up(self, node: str) -> None:
        if node in self._senders:
            self._senders[node].peer_is_up()

    def _lease_changed(self, held: bool) -> None:
        for copy in self._copies.values():
            if copy.leadership is not None:
                copy.leadership.hush(not held)


def _method(kind: type[Q], work: Callable[[Q], Awaitable[A]]) -> Method:
    """A call's method: what cannot be read is answered with nothing, which cannot be read either."""

    async def method(peer: str, body: bytes) -> bytes:
        try:
            question = decode(body, kind)
        except BadMessage as error:
            logger.warning("peer %s sends %s", peer, error)
            return b""
        return encode(await work(question))

    return method


async def _standing(want: tuple[Copy, int]) -> tuple[int, int, int, int] | None:
    copy, epoch = want
    found = await copy.standing(epoch)
    return None if found is None else (copy.identity.topic_id, copy.identity.partition, *found)


async def _each(work: Callable[[Q], Awaitable[A]], questions: list[Q]) -> list[A]:
    """The answers to all questions, in their order; some are worked at at a time."""
    if len(questions) == 1:
        return [await work(questions[0])]
    answers: dict[int, A] = {}
    limit = trio.CapacityLimiter(_AT_ONCE)

    async def one(number: int, question: Q) -> None:
        async with limit:
            answers[number] = await work(question)

    async with trio.open_nursery() as nursery:
        for number, question in enumerate(questions):
            nursery.start_soon(one, number, question)
    return [answers[number] for number in range(len(questions))]


def _key(identity: PartitionId) -> tuple[int, int]:
    return identity.topic_id, identity.partition
