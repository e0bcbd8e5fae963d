"""Single publishes that meet travel in one frame per partition.

A frame costs about as much as twenty events, so that is where the rate comes from. Who publishes alone waits
for no company: the frame leaves with the next turn of the event loop. While it is on its way, what is published
gathers until it is answered, but not for long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import anyio
from anyio.abc import TaskGroup

from chronosdb.client.cluster import Cluster
from chronosdb.client.errors import client_closed
from chronosdb.client.outcomes import Outcome, PublishMany, publish_each
from chronosdb.client.results import PublishResult
from chronosdb.wire import Event
from chronosdb.wire.errors import ChronosError

#: Frames on their way to one destination while more is published. A second one would cost more processor time
#: than its overlap with the first gains, and at a rate that keeps both sides busy that time is what all wait for.
_SENDERS: Final = 1
_PATIENCE_S: Final = 0.005


class Destination(NamedTuple):
    """What the events of one frame have in common."""

    topic: str
    partition: int
    acks: str | None


class _Load:
    """Events that travel together. Invariant: `outcomes` is empty until `done`, then one for each."""

    __slots__ = ("done", "events", "outcomes")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.outcomes: Sequence[Outcome] = ()
        self.done = anyio.Event()

    def end(self) -> None:
        """Nobody waits any more. Without outcomes the client is closed, or there is a bug."""
        if not self.outcomes:
            self.outcomes = [client_closed() for _ in self.events]
        self.done.set()


class _Lane:
    """What is under way to one destination."""

    __slots__ = ("load", "senders", "watched")

    def __init__(self) -> None:
        #: What gathers. Invariant: there is a sender, which takes it when it is next free.
        self.load: _Load | None = None
        #: Tasks that each have a frame on its way, or are about to.
        self.senders = 0
        #: A task sees to it that the load does not wait for long.
        self.watched = False


class Gathering:
    """The single publishes of a client. It is bounded by its callers: each waits for one event."""

    def __init__(
        self,
        cluster: Cluster,
        tasks: TaskGroup,
        publisher: Callable[[Destination], PublishMany],
    ) -> None:
        self._cluster = cluster
        self._publisher = publisher
        self._tasks = tasks
        #: Invariant: each has a sender.
        self._lanes: dict[Destination, _Lane] = {}

    async def publish(self, to: Destination, event: Event) -> PublishResult:
        """Store one event, which has an id; raises what `Client.publish` does."""
        lane = self._lanes.get(to)
        load = None if lane is None else lane.load
        if load is None:
            load = self._new_load(to)
        index = len(load.events)
        load.events.append(event)
        await load.done.wait()
        outcome = load.outcomes[index]
        if isinstance(outcome, ChronosError):
            raise outcome
        return outcome

    def _new_load(self, to: Destination) -> _Load:
        if self._cluster.closed:
            raise client_closed()
        lane = self._lanes.setdefault(to, _Lane())
        lane.load = _Load()
        if lane.senders < _SENDERS:
            self._start_sender(to, lane)
        elif not lane.watched:
            lane.watched = True
            self._tasks.start_soon(self._watch, to, lane)
        return lane.load

    def _start_sender(self, to: Destination, lane: _Lane) -> None:
        lane.senders += 1
        self._tasks.start_soon(self._send, to, lane)

    async def _send(self, to: Destination, lane: _Lane) -> None:
        try:
            while (load := lane.load) is not None:
                lane.load = None
                try:
                    load.outcomes = await publish_each(self._publisher(to), load.events)
                finally:
                    load.end()
        finally:
            lane.senders -= 1
            if not lane.senders:
                del self._lanes[to]
                if lane.load is not None:
                    lane.load.end()

    async def _watch(self, to: Destination, lane: _Lane) -> None:
        """A frame to a leader that has died takes seconds: what gathers is not kept waiting by it."""
        while (load := lane.load) is not None:
            await anyio.sleep(_PATIENCE_S)
            if lane.load is load:
                self._start_sender(to, lane)
        lane.watched = False
