"""Single publishes that meet: those of one turn of the event loop travel in one frame per partition.

Nobody waits for company. The task that sends a load starts with the next turn, so what gathers until then
is what is published at this moment: a few under light load, all callers that the last frame has answered
under heavy load. A frame costs about as much as one event more, so that is where the rate comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import anyio
from anyio.abc import TaskGroup

from chronosdb.client.cluster import Cluster
from chronosdb.client.errors import client_closed
from chronosdb.client.outcomes import Outcome, PublishMany, publish_each
from chronosdb.client.results import PublishResult
from chronosdb.wire import Event
from chronosdb.wire.errors import ChronosError


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
        #: Invariant: of each load here a task is about to begin, which takes it out.
        self._loads: dict[Destination, _Load] = {}

    async def publish(self, to: Destination, event: Event) -> PublishResult:
        """Store one event, which has an id; raises what `Client.publish` does."""
        load = self._loads.get(to)
        if load is None:
            if self._cluster.closed:
                raise client_closed()
            load = self._loads[to] = _Load()
            self._tasks.start_soon(self._send, to)
        index = len(load.events)
        load.events.append(event)
        await load.done.wait()
        outcome = load.outcomes[index]
        if isinstance(outcome, ChronosError):
            raise outcome
        return outcome

    async def _send(self, to: Destination) -> None:
        load = self._loads.pop(to)
        try:
            load.outcomes = await publish_each(self._publisher(to), load.events)
        finally:
            if (
                not load.outcomes
            ):  # the client is closed, or this is a bug: nobody is to wait for ever
                load.outcomes = [client_closed() for _ in load.events]
            load.done.set()
