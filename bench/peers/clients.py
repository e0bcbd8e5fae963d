"""What the client process of a peer does. It blocks: there is nothing else in that process."""

from __future__ import annotations

import contextlib
import select
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from bench.load import HOUR_MS, Load, now_ms
from bench.peers.item import HEAD, batches, item
from bench.peers.peer import Lane, Peer
from bench.publishing import Pace, Singles
from bench.receiving import Receipts
from bench.stopwatch import Spent, Stopwatch


async def publish(peer: Peer, load: Load) -> Spent:
    """Publish all of `load`; measured from the first connection to the last ack."""
    watch = Stopwatch()
    peer.publish(batches(load), load.batch, load.callers)
    return watch.spent()


async def receive(peer: Peer, count: int, until_ms: int) -> Receipts:
    """Record the next `count` events, or as many as come before `until_ms`."""
    receipts = Receipts()
    with contextlib.closing(peer.consume()) as consumed:
        for payloads in consumed:
            received_ns = time.time_ns()
            for payload in payloads:
                number, due_ms = HEAD.unpack_from(payload)
                receipts.received_ns.append(received_ns)
                receipts.due_ms.append(due_ms)
                receipts.offsets.append(number)
            if len(receipts.offsets) >= count or now_ms() > until_ms:
                break
    return receipts


async def drain(peer: Peer, count: int) -> Spent:
    """Consume a backlog of `count` events, each of them read; measured until the last is received."""
    watch = Stopwatch()
    with contextlib.closing(peer.consume()) as consumed:
        for payloads in consumed:
            for payload in payloads:
                assert payload, "a payload is never empty here"
            count -= len(payloads)
            if count <= 0:
                break
        return watch.spent()


async def publish_singles(peer: Peer, callers: int, pace: Pace) -> Singles:
    """Publish single events, each caller with a connection of its own; whoever is free is next."""
    singles = Singles()
    lanes = [peer.lane() for _ in range(callers)]
    try:
        time.sleep(max(0, pace.start_ms - now_ms()) / 1000)  # noqa: ASYNC251 - see above
        _Callers(lanes, singles).work(pace.turns_ns())
    finally:
        for lane in lanes:
            lane.close()
    singles.check()
    return singles


@dataclass(frozen=True, slots=True)
class _Sent:
    asked_ns: int
    sent_ns: int


class _Callers:
    """Hands events to free lanes when they are asked for, and notes the acks."""

    def __init__(self, lanes: list[Lane], singles: Singles) -> None:
        self._lanes = {lane.fileno(): lane for lane in lanes}
        self._free = deque(lanes)
        self._singles = singles
        self._sent: dict[int, _Sent] = {}
        self._poll = select.epoll()
        for descriptor in self._lanes:
            self._poll.register(descriptor, select.EPOLLIN)

    def work(self, turns_ns: Iterator[int]) -> None:
        """Until the last ack of the last turn."""
        for asked_ns in turns_ns:
            while not self._free or time.time_ns() < asked_ns:
                self._note_acks(max(0, asked_ns - time.time_ns()) / 1e9 if self._free else 1.0)
            self._send(asked_ns)
        while self._sent:
            self._note_acks(1.0)

    def _send(self, asked_ns: int) -> None:
        lane = self._free.popleft()
        sent_ns = time.time_ns()
        due_ms = now_ms() + HOUR_MS
        self._sent[lane.fileno()] = _Sent(asked_ns, sent_ns)
        lane.send(item(len(self._singles.acked_ns) + len(self._sent), due_ms))

    def _note_acks(self, timeout_s: float) -> None:
        for descriptor, _ in self._poll.poll(timeout_s):
            lane = self._lanes[descriptor]
            if lane.acks():
                one = self._sent.pop(descriptor)
                self._singles.note(one.asked_ns, one.sent_ns, time.time_ns())
                self._free.append(lane)
