"""A member's place at one node: subscribed there, over as many connections as it takes."""

from __future__ import annotations

from collections.abc import Callable

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from chronosdb.client.attachment import Attachment, Terms
from chronosdb.client.chunk import Chunk
from chronosdb.client.cluster import Cluster
from chronosdb.client.inbox import Inbox
from chronosdb.client.leaders import Partition
from chronosdb.client.reply import Reply
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ChronosError, NotFound


class Seat:
    """One subscription at the node at `address`, "" for any node. Its deliveries go to `inbox`.

    What waits in the inbox when its connection is lost is dropped, because it is delivered again.
    """

    def __init__(
        self,
        cluster: Cluster,
        address: str,
        *,
        number: int,
        terms: Terms,
        inbox: Inbox,
        changed: Callable[[], None],
    ) -> None:
        self.line = inbox.credits.add()
        #: Ends `keep` when it is cancelled.
        self.scope = anyio.CancelScope()
        #: Where Subscribe was sent and not refused, as long as that connection lives.
        self.attachment: Attachment | None = None
        #: The node has confirmed it. Invariant: only with an `attachment`.
        self.confirmed = False
        #: Credits were asked back, and there is no answer yet.
        self.recalling = False
        #: Why the last attempt to subscribe failed.
        self.trouble: ChronosError | None = None
        self._cluster = cluster
        self._address = address
        self._number = number
        self._terms = terms
        self._inbox = inbox
        #: Is called when `confirmed` has changed.
        self._changed = changed

    async def keep(self) -> None:
        """Stay subscribed until cancelled; raises the error that says there is no point."""
        with self.scope:
            while True:
                attachment = await self._attach()
                await attachment.connection.lost.wait()
                self.detach()

    def detach(self) -> None:
        """Forget the connection, and what it brought and was not handed out."""
        if self.attachment is None:
            return
        self.attachment.connection.unbind(self._number)
        self.attachment = None
        self._inbox.drop(self.line)
        if self.confirmed:
            self.confirmed = False
            self._changed()

    def leave(self) -> Reply | None:
        """Give up the place, and give everything back that was not handed out."""
        attachment = self.attachment
        self.scope.cancel()
        self.detach()
        self._inbox.credits.remove(self.line)
        return None if attachment is None else attachment.unsubscribe()

    def return_credits(self) -> None:
        """Let the node send more, if it is time for that."""
        if self.confirmed and (count := self._inbox.credits.give_back(self.line)):
            assert self.attachment is not None
            self.attachment.grant(count)

    async def recall(self) -> None:
        """Ask the credits back that are beyond the node's share, if others want for them."""
        attachment, excess = self.attachment, self._inbox.credits.excess(self.line)
        if attachment is None or not self.confirmed or self.recalling or not excess:
            return
        self.recalling = True
        try:
            reply = await attachment.recall(excess).wait(m.Recalled)
            if attachment is self.attachment:
                self._inbox.credits.recalled(self.line, min(reply.credits, excess))
        finally:
            self.recalling = False

    async def _attach(self) -> Attachment:
        """Subscribe, as often as it takes."""
        for delay_s in self._cluster.retry.delays_s():
            try:
                connection = await self._cluster.node(self._address)
                await checkpoint_if_cancelled()  # the seat may have been left on the way
                return await self._subscribe(Attachment(connection, self._number, self.line))
            except ChronosError as error:
                self.detach()
                if not error.retryable and not await self._is_late(error):
                    raise
                self.trouble = error
                await anyio.sleep(delay_s)
        raise AssertionError("the waits have no end")

    async def _subscribe(self, attachment: Attachment) -> Attachment:
        def receive(message: m.Deliver) -> None:
            self._inbox.receive(Chunk(message, attachment))

        # Deliveries may arrive in one read with the confirmation: all is ready for them before.
        self.attachment = attachment
        granted = self._inbox.credits.attach(self.line)
        await attachment.subscribe(self._terms, granted, receive).wait(m.Done)
        if self.attachment is attachment:  # else it was left when the answer was on its way
            self.confirmed = True
            self._changed()
            self.return_credits()
        return attachment

    async def _is_late(self, error: ChronosError) -> bool:
        if not isinstance(error, NotFound):
            return False
        return await self._cluster.may_come(Partition(self._terms.topic, 0), error)
