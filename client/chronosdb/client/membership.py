"""Staying in a group, at every node that leads partitions of the topic.

One task (`keep`) takes a seat at each of those nodes and gives up those at others, whenever other nodes
lead. Each seat is renewed by itself when its connection is lost; the others go on meanwhile. What the
application holds can be acked wherever its partition is led now, because positions never change, but
only the seat that it came from can extend it or give it back: those leases end with their connection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

import anyio
from anyio.abc import TaskGroup

from chronosdb.client.attachment import Attachment, Terms
from chronosdb.client.backoff import Backoff
from chronosdb.client.chunk import Slice
from chronosdb.client.cluster import Cluster
from chronosdb.client.errors import client_closed
from chronosdb.client.inbox import Inbox
from chronosdb.client.leaders import Partition
from chronosdb.client.reply import Reply
from chronosdb.client.seat import Seat
from chronosdb.client.signal import Signal
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ChronosError, LeaseLost, Timeout

T = TypeVar("T")

#: How long leaving waits for the nodes to confirm; they have the request by then in any case.
LEAVE_S: Final = 2.0
#: Even if no node says that leaders have changed, they are asked for this often in the long run.
ASK_S: Final = 15.0
#: And so soon after the last seat was confirmed.
FIRST_ASK_S: Final = 0.5
#: How long a node keeps credits that it does not use and another one wants for.
TURN_S: Final = 0.1


class Membership:
    """One member of a group. Its deliveries go to `inbox`."""

    def __init__(
        self, cluster: Cluster, next_number: Callable[[], int], terms: Terms, inbox: Inbox
    ) -> None:
        self._cluster = cluster
        self._next_number = next_number
        self._terms = terms
        self._inbox = inbox
        self._pause = partial(cluster.pause, Partition(terms.topic, 0))
        self._keeping = anyio.CancelScope()
        #: By the node's address, "" for any node.
        self._seats: dict[str, Seat] = {}
        #: Fires when a seat was confirmed, lost, taken or given up; when leaders changed; at the end.
        self._changed = Signal()
        #: Fires when a node has no credits, while others do.
        self._starved = Signal()

    async def keep(self) -> None:
        """Stay a member until `leave`; runs as a task beside the application."""
        try:
            with self._keeping:
                if self._cluster.clustered:
                    await self._cluster.refresh(self._terms.topic)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._watch_leaders)
                    tasks.start_soon(self._take_turns, tasks)
                    await self._keep_seats(tasks)
        finally:
            self._end(client_closed())

    async def joined(self) -> None:
        """Wait until every node has confirmed its first subscription.

        Raises:
            ChronosError: one refused for good, or none could be asked within the deadline.
        """
        timeout_s = self._cluster.retry.timeout_s
        with anyio.move_on_after(timeout_s):
            while not self._inbox.ended and not self._confirmed(all):
                await self._changed.wait()
            self._inbox.check()
            return
        if not self._confirmed(any):
            troubles = [seat.trouble for seat in self._seats.values() if seat.trouble is not None]
            raise next(iter(troubles), Timeout(f"no subscription within {timeout_s:g} s"))

    async def leave(self) -> None:
        """Give everything back that was not handed out, and end the inbox."""
        replies = self._end(None)
        self._keeping.cancel()
        with anyio.move_on_after(LEAVE_S):
            for reply in replies:
                await _confirmed(reply)

    async def retry(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """The result of the first attempt that succeeds; see `Retry.run`."""
        return await self._cluster.retry.run(attempt, self._pause)

    def attached(self, number: int) -> Attachment | None:
        """Where the leader of a partition knows this member, if it does now."""
        address = ""
        if self._cluster.clustered:
            address = self._cluster.leaders.of(Partition(self._terms.topic, number))
        seat = self._seats.get(address)
        return seat.attachment if seat is not None and seat.confirmed else None

    async def attachment(self, number: int) -> Attachment:
        """Where the leader of a partition knows this member, once it does.

        Raises:
            ChronosError: it never will again.
        """
        while (attachment := self.attached(number)) is None:
            self._inbox.check()
            if self._inbox.ended:
                raise LeaseLost("the subscription was left; what was not acked is delivered again")
            await self._changed.wait()
        return attachment

    async def settled(self, number: int, attachment: Attachment, reply: Reply) -> None:
        """Return when the leader of a partition has done what was asked; see `Cluster.answer`."""
        if not self._cluster.clustered:
            await reply.wait(m.Done)
            return
        partition = Partition(self._terms.topic, number)
        await self._cluster.answer(partition, attachment.connection, reply, m.Done)

    def lessee(self, part: Slice) -> Attachment:
        """Where the lease of these deliveries lives.

        Raises:
            LeaseLost: nowhere any more.
        """
        attachment = part.chunk.attachment
        alive = any(seat.attachment is attachment for seat in self._seats.values())
        if not alive or attachment.connection.lost.is_set():
            raise LeaseLost("the lease ended with its connection; the event is delivered again")
        return attachment

    def return_credits(self) -> None:
        """Let the nodes send more, if it is time for that."""
        for seat in self._seats.values():
            seat.return_credits()
        if self._inbox.credits.starved:
            self._starved.fire()

    # ---- seats -------------------------------------------------------------------------------

    async def _keep_seats(self, tasks: TaskGroup) -> None:
        """Have a seat at each node that leads, and at no other."""
        calm, waits_s = False, self._waits_s(calm=False)
        while not self._inbox.ended:
            self._match(tasks)
            if not self._cluster.clustered:
                await self._changed.wait()
                continue
            was_calm, calm = calm, self._confirmed(all) and "" not in self._leaders()
            if calm is not was_calm:
                waits_s = self._waits_s(calm=calm)
            with anyio.move_on_after(next(waits_s)) as scope:
                await self._changed.wait()
            if scope.cancelled_caught:
                await self._cluster.refresh(self._terms.topic)

    def _match(self, tasks: TaskGroup) -> None:
        leaders = [address for address in self._leaders() if address]
        if not leaders and self._seats:
            return  # nobody leads now, as far as is known: those who did may do so again
        wanted = dict.fromkeys(leaders or [""])
        for address in [address for address in self._seats if address not in wanted]:
            self._seats.pop(address).leave()
        for address in [address for address in wanted if address not in self._seats]:
            self._seats[address] = seat = Seat(
                self._cluster,
                address,
                number=self._next_number(),
                terms=self._terms,
                inbox=self._inbox,
                changed=self._changed.fire,
            )
            tasks.start_soon(self._occupy, seat)
        self._level(tasks)

    async def _occupy(self, seat: Seat) -> None:
        try:
            await seat.keep()
        except ChronosError as error:
            self._end(error)
            self._keeping.cancel()

    async def _watch_leaders(self) -> None:
        while True:
            await self._cluster.leaders.changed.wait()
            self._changed.fire()

    # ---- credits of several nodes ------------------------------------------------------------

    async def _take_turns(self, tasks: TaskGroup) -> None:
        credits_ = self._inbox.credits
        while True:
            if not credits_.starved:
                await self._starved.wait()
            await anyio.sleep(TURN_S)
            # A turn lasts until its credits have come; else they might always come in the same one.
            if credits_.scarce and not any(seat.recalling for seat in self._seats.values()):
                credits_.turn()
            self._level(tasks)

    def _level(self, tasks: TaskGroup) -> None:
        """Move credits from the nodes that have too many to those that have too few."""
        for seat in self._seats.values():
            if self._inbox.credits.excess(seat.line):
                tasks.start_soon(self._recall, seat)
        self.return_credits()

    async def _recall(self, seat: Seat) -> None:
        with suppress(ChronosError):
            await seat.recall()
        self.return_credits()

    # ---- helpers -----------------------------------------------------------------------------

    def _waits_s(self, *, calm: bool) -> Iterator[float]:
        """Between asking who leads. Also in calm: what elections said last may be old already."""
        retry = self._cluster.retry
        return Backoff(FIRST_ASK_S, ASK_S).delays_s(retry.unit) if calm else retry.delays_s()

    def _leaders(self) -> Sequence[str]:
        return self._cluster.leaders.all(self._terms.topic) if self._cluster.clustered else ()

    def _confirmed(self, how: Callable[[Iterable[bool]], bool]) -> bool:
        return bool(self._seats) and how(seat.confirmed for seat in self._seats.values())

    def _end(self, failure: ChronosError | None) -> list[Reply | None]:
        """No more deliveries; what the nodes answer to that."""
        self._inbox.end(failure)
        replies = [seat.leave() for seat in self._seats.values()]
        self._seats.clear()
        self._changed.fire()
        return replies


async def _confirmed(reply: Reply | None) -> None:
    if reply is not None:
        with suppress(ChronosError):
            await reply.wait(m.Done)
