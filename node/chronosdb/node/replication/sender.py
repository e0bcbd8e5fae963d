"""What is sent to one other node: appends and beginnings for every partition that is led here.

One task for each node. Whoever has something new wakes its feed; the sender gathers what waits into
few calls. A partition has one call under way at most, a node a few, and idle partitions cost nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from heapq import heappop, heappush
from itertools import count
from typing import Final, TypeVar

import trio
from msgspec import Struct

from chronosdb.node.clock import Signal
from chronosdb.node.environment import Threads
from chronosdb.node.peers.calls import CallFailed, Calls
from chronosdb.node.peers.peers import Peers
from chronosdb.node.replication.feed import Feed
from chronosdb.node.replication.messages import (
    ITEMS_MAX,
    Append,
    Appended,
    AppendItem,
    BadMessage,
    Begin,
    Begun,
    decode,
    encode,
)
from chronosdb.node.replication.options import ReplicationOptions
from chronosdb.wal import DamagedRecord

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Calls to one node at a time.
_CALLS_MAX: Final = 4
#: A follower whose disk hangs for so long is given up, until it is begun with again.
_CALL_S: Final = 10.0
#: News of what is committed wait so long for records to go along with.
_LINGER_S: Final = 0.01


class Sender:
    """Feeds the followers on one node."""

    def __init__(
        self, threads: Threads, node: str, calls: Calls, peers: Peers, options: ReplicationOptions
    ) -> None:
        self._threads = threads
        self._node = node
        self._calls = calls
        self._peers = peers
        self._options = options
        #: All feeds, in the order in which they came.
        self._feeds: dict[Feed, None] = {}
        #: Feeds with something to send, in the order in which they were woken.
        self._ready: dict[Feed, None] = {}
        #: When to look at others: (time, a number that makes it unique, feed).
        self._later: list[tuple[float, int, Feed]] = []
        self._numbers = count()
        self._wake = Signal()
        self._under_way = 0
        #: Nothing more is sent to copies out of sync before this.
        self._free_s = 0.0

    def add(self, feed: Feed) -> None:
        """Feed one more follower."""
        self._feeds[feed] = None
        self.wake(feed)

    def remove(self, feed: Feed) -> None:
        """Feed it no more."""
        feed.over = True
        self._feeds.pop(feed, None)

    def wake(self, feed: Feed) -> None:
        """There may be something to send."""
        if not feed.busy:
            self._ready[feed] = None
            self._wake.set()

    def linger(self, feed: Feed) -> None:
        """There is something to send, which may wait for more to come."""
        if not feed.busy and feed not in self._ready:
            self._look_later(feed, _LINGER_S)

    def peer_is_up(self) -> None:
        """The node can be reached from now on. It may have been started again: begin with all."""
        for feed in self._feeds:
            if not feed.busy:
                feed.failed()
                self.wake(feed)
        self._wake.set()

    async def run(self) -> None:
        """Send, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._wait()
                while self._under_way < _CALLS_MAX and (feeds := self._gather()):
                    self._under_way += 1
                    exchange = self._begin if feeds[0].must_begin else self._append
                    nursery.start_soon(exchange, feeds)

    async def _wait(self) -> None:
        """Until something can be done, perhaps."""
        now_s = trio.current_time()
        wait_s = self._later[0][0] - now_s if self._later else float("inf")
        with trio.move_on_after(max(0.0, wait_s)):
            await self._wake.wait()
        now_s = trio.current_time()
        while self._later and self._later[0][0] <= now_s:
            due_s, _, feed = heappop(self._later)
            if feed.due_s == due_s:
                feed.due_s = None
                self._ready[feed] = None

    def _look_later(self, feed: Feed, delay_s: float) -> None:
        due_s = trio.current_time() + delay_s
        if feed.due_s is None or due_s < feed.due_s:
            feed.due_s = due_s
            heappush(self._later, (due_s, next(self._numbers), feed))
            self._wake.set()

    def _gather(self) -> list[Feed]:
        """The feeds of the next call: all of them begin, or none does."""
        if not self._peers.is_up(self._node) or not self._peers.has_room(self._node):
            return []
        gathered: list[Feed] = []
        nbytes = 0
        for feed in list(self._ready):
            if feed.over or feed.busy or not feed.has_news or self._must_wait(feed):
                del self._ready[feed]
                continue
            if gathered and feed.must_begin != gathered[0].must_begin:
                continue
            del self._ready[feed]
            feed.busy = True
            gathered.append(feed)
            nbytes += 0 if feed.must_begin else feed.backlog
            if len(gathered) == ITEMS_MAX or nbytes >= self._options.append_bytes:
                break
        return gathered

    async def _begin(self, feeds: Sequence[Feed]) -> None:
        with self._busy(feeds):
            question = Begin([feed.begin_item() for feed in feeds])
            begun = await self._ask("begin", question, Begun)
            if begun is None or len(begun.answers) != len(feeds):
                for feed in feeds:
                    feed.failed()
                return
            for feed, answer in zip(feeds, begun.answers, strict=True):
                if not feed.over:
                    feed.begun(answer)

    async def _append(self, feeds: Sequence[Feed]) -> None:
        with self._busy(feeds):
            rows = []
            room = self._options.append_bytes
            for feed in feeds:
                sent = feed.end_lsn, trio.current_time()
                # What was written since they were gathered must not make the call too large.
                item = await self._item(feed, room) if room > 0 else None
                if item is not None:
                    room -= len(item.raw)
                    rows.append((feed, item, sent))
            nbytes = self._options.append_bytes - room
            question = Append([item for _, item, _ in rows])
            appended = await self._ask("append", question, Appended) if rows else None
            if appended is None or len(appended.answers) != len(rows):
                for feed, _, _ in rows:
                    feed.failed()
                return
            for (feed, item, sent), answer in zip(rows, appended.answers, strict=True):
                if not feed.over:
                    feed.appended(item, answer, *sent)
            self._throttle(feeds, nbytes)

    async def _item(self, feed: Feed, max_bytes: int) -> AppendItem | None:
        try:
            return await feed.append_item(max_bytes, self._threads)
        except DamagedRecord as error:
            logger.warning(
                "%s: peer %s cannot be sent what is damaged here: %s", feed.name, self._node, error
            )
            feed.failed()
            return None

    async def _ask(self, method: str, question: Struct, kind: type[T]) -> T | None:
        """The answer; None: there is none."""
        with trio.move_on_after(_CALL_S):
            try:
                return decode(await self._calls.ask(self._node, method, encode(question)), kind)
            except CallFailed:
                return None
            except BadMessage as error:
                logger.warning("peer %s answers %s with %s", self._node, method, error)
        return None

    @contextmanager
    def _busy(self, feeds: Sequence[Feed]) -> Iterator[None]:
        """A call about these is under way; afterwards they are looked at again."""
        try:
            yield
        finally:
            self._under_way -= 1
            self._wake.set()
            for feed in feeds:
                feed.busy = False
                if feed.over:
                    pass
                elif feed.must_begin:
                    self._look_later(feed, feed.pause_s())
                elif feed.backlog:
                    self.wake(feed)
                elif feed.has_news:
                    self.linger(feed)

    def _throttle(self, feeds: Sequence[Feed], nbytes: int) -> None:
        """Remember how much was sent to copies that nothing waits for."""
        rate = self._options.catch_up_bytes_per_s
        if rate and not any(feed.counts for feed in feeds):
            self._free_s = max(self._free_s, trio.current_time()) + nbytes / rate

    def _must_wait(self, feed: Feed) -> bool:
        """Whether it is a copy out of sync, and enough was sent to such for now."""
        wait_s = self._free_s - trio.current_time()
        if wait_s <= 0 or feed.must_begin or feed.counts:
            return False
        self._look_later(feed, wait_s)
        return True
