"""Finding out who leads: many may ask at the same time, and again and again; the nodes are asked once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import anyio
from anyio.abc import TaskGroup

from chronosdb.client.connection import Connection
from chronosdb.client.leaders import Leaders
from chronosdb.client.nodes import Nodes
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ChronosError, NotFound

#: A topic is not described twice within this time.
REST_S: Final = 0.05
#: A node that does not answer within this time is left for another.
ANSWER_S: Final = 1.0


class _Enquiry:
    """A topic that is being asked about, or was a moment ago."""

    def __init__(self, told_by: Connection | None) -> None:
        #: Set when the answer is there, or there is none.
        self.done = anyio.Event()
        #: A node that has more to say than what was asked so far; None: any node is as good.
        self.told_by = told_by


class Lookout:
    """Keeps `leaders` up to date, topic by topic, when somebody has reason to doubt it."""

    def __init__(self, leaders: Leaders, nodes: Nodes, tasks: TaskGroup) -> None:
        self._leaders = leaders
        self._nodes = nodes
        self._tasks = tasks
        #: Invariant: one task for each.
        self._enquiries: dict[str, _Enquiry] = {}

    async def refresh(self, topic: str) -> None:
        """Return when a node has said who leads a topic, just before or from now on; or none did."""
        if not self._nodes.closed:
            await self._enquiry(topic, None).done.wait()

    def told(self, topic: str, connection: Connection | None = None) -> None:
        """A topic's leaders have changed; the node behind `connection` knows more."""
        if self._leaders.all(topic) and not self._nodes.closed:
            self._enquiry(topic, connection)

    def learn(self, reply: m.TopicReply) -> None:
        """A node has described a topic."""
        self._nodes.learn(reply.nodes)
        if self._leaders.learn(reply):
            self._nodes.changed.fire()  # for those who wait for a node that does not lead any more

    def _enquiry(self, topic: str, told_by: Connection | None) -> _Enquiry:
        enquiry = self._enquiries.get(topic)
        if enquiry is None:
            enquiry = self._enquiries[topic] = _Enquiry(told_by)
            self._tasks.start_soon(self._enquire, topic, enquiry)
        elif told_by is not None:
            enquiry.told_by = told_by
        return enquiry

    async def _enquire(self, topic: str, enquiry: _Enquiry) -> None:
        again = True
        while again:
            told_by, enquiry.told_by = enquiry.told_by, None
            await self._ask(topic, told_by)
            enquiry.done.set()
            await anyio.sleep(REST_S)
            again = enquiry.told_by is not None
        del self._enquiries[topic]

    async def _ask(self, topic: str, told_by: Connection | None) -> None:
        with suppress(ChronosError), anyio.move_on_after(ANSWER_S):
            await self._nodes.any()
        for connection in self._candidates(told_by):
            if await self._answered(topic, connection):
                return
        for address in self._nodes.others():
            with suppress(ChronosError), anyio.move_on_after(ANSWER_S):
                connection = await self._nodes.node(address)
                if await self._answered(topic, connection):
                    return

    def _candidates(self, told_by: Connection | None) -> Sequence[Connection]:
        """Whom to ask: who knows more, and then who was heard of last, for others may be dead."""
        found = sorted(self._nodes.open(), key=lambda connection: -connection.heard_s)
        if told_by is None or told_by.lost.is_set():
            return found
        return [told_by, *(connection for connection in found if connection is not told_by)]

    async def _answered(self, topic: str, connection: Connection) -> bool:
        with anyio.move_on_after(ANSWER_S):
            try:
                reply = connection.ask(lambda request: m.DescribeTopic(request, topic))
                self.learn(await reply.wait(m.TopicReply))
            except NotFound:
                self._leaders.forget(topic)
            except ChronosError:
                return False  # another node may know
            return True
        return False
