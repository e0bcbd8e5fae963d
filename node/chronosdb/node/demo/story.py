"""The play: publish, consume, kill -9 in the middle, start again, publish everything once more.

The node is a process of its own and the client is the public one; nothing here reaches into either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import trio

from chronosdb.client import Client, DeliveryBatch, Event, connect
from chronosdb.node.demo.child import NodeProcess
from chronosdb.node.demo.screen import Screen
from chronosdb.node.demo.sources import Entry
from chronosdb.node.demo.tally import Tally
from chronosdb.node.demo.timetable import Timetable

TOPIC: Final = "history"
GROUP: Final = "watchers"
PARTITIONS: Final = 2

_WORKERS: Final = 2
_CHUNK_EVENTS: Final = 200
#: From publishing until the first record is due.
_LEAD_MS: Final = 1500
#: How long the node stays dead, at least: some events should come due meanwhile.
_DEAD_S: Final = 1.0
#: Longer than the node is away, so that the client rides it out.
_REQUEST_TIMEOUT_S: Final = 30.0
_FINISH_S: Final = 15.0
_REFRESH_S: Final = 0.1


class Story:
    """One performance; the tally is what came of it."""

    def __init__(self, node: NodeProcess, screen: Screen, now_ms: Callable[[], int]) -> None:
        self.tally = Tally()
        self._node = node
        self._screen = screen
        self._now_ms = now_ms
        self._acked = trio.Event()

    async def play(self, entries: Sequence[Entry], span_ms: int) -> int:
        """Everything from the first start to the last stop; the node's exit code.

        Raises:
            NodeDied: the node did not start.
            ChronosError: the node refused something.
        """
        async with self._node:
            await self._node.start()
            self._screen.say(f"node {self._node.pid} serves on {self._node.address}")
            async with connect(self._node.address, timeout=_REQUEST_TIMEOUT_S) as db:
                await db.create_topic(TOPIC, partitions=PARTITIONS)
                await self._perform(db, entries, span_ms)
            self._screen.say("the node is asked to stop (SIGTERM)")
            return await self._node.stop()

    async def _perform(self, db: Client, entries: Sequence[Entry], span_ms: int) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(_WORKERS):
                await nursery.start(self._work, db)
            timetable = Timetable(entries, self._now_ms() + _LEAD_MS, span_ms)
            events = list(_events(timetable))
            self._screen.begin(timetable.start_ms)
            await self._publish(db, events)
            nursery.start_soon(self._keep_showing)
            await self._sleep_until(timetable.start_ms + span_ms // 2)
            await self._break_down(db, events)
            with trio.move_on_at(self._deadline(timetable)):
                await self._acked.wait()
            nursery.cancel_scope.cancel()

    async def _publish(self, db: Client, events: Sequence[Event]) -> None:
        self.tally.expected = {event.message_id or "": event for event in events}
        with self._screen.publishing(len(events)) as advance:
            for start in range(0, len(events), _CHUNK_EVENTS):
                chunk = events[start : start + _CHUNK_EVENTS]
                for result in await db.publish_many(TOPIC, chunk):
                    self.tally.publish(result)
                advance(len(chunk))

    async def _work(self, db: Client, task_status: trio.TaskStatus[None]) -> None:
        """One member of the group."""
        async with db.consume(TOPIC, group=GROUP) as events:
            task_status.started()
            async for batch in events.batches():
                self._note_delivered(batch)
                await batch.ack()
                self.tally.ack((event.message_id for event in batch), self._now_ms())
                if self.tally.complete:
                    self._acked.set()

    def _note_delivered(self, batch: DeliveryBatch) -> None:
        received_ms = self._now_ms()
        for event in batch:
            self.tally.deliver(event, received_ms)
            self._screen.delivered(event, received_ms)

    async def _break_down(self, db: Client, events: Sequence[Event]) -> None:
        """Kill the node without warning, start it on the same directory, publish everything again."""
        screen, node, tally = self._screen, self._node, self.tally
        screen.say(f"kill -9 {node.pid}", alarm=True)
        tally.killed_ms = self._now_ms()
        await node.kill()
        await trio.sleep(_DEAD_S)
        began_ms = self._now_ms()
        await node.start()
        tally.serving_ms = self._now_ms()
        screen.say(
            f"node {node.pid} serves again: started in {tally.serving_ms - began_ms} ms, was away"
            f" for {tally.serving_ms - tally.killed_ms} ms"
        )
        for result in await db.publish_many(TOPIC, events):
            tally.publish(result)
        screen.say(
            f"published all of it again: {tally.recognised} of {tally.republished} events are"
            " duplicates with the offset they had"
        )

    async def _keep_showing(self) -> None:
        while True:
            self._screen.refresh(self.tally, self._now_ms())
            await trio.sleep(_REFRESH_S)

    async def _sleep_until(self, time_ms: int) -> None:
        await trio.sleep(max(0, time_ms - self._now_ms()) / 1000)

    def _deadline(self, timetable: Timetable) -> float:
        """When to stop waiting, on trio's clock."""
        left_ms = timetable.start_ms + timetable.span_ms - self._now_ms()
        return trio.current_time() + max(0, left_ms) / 1000 + _FINISH_S


def _events(timetable: Timetable) -> Iterator[Event]:
    for entry, due_ms in zip(timetable.entries, timetable.due_ms, strict=True):
        yield Event(payload=entry.text.encode(), message_id=entry.id, schedule_ts=due_ms)
