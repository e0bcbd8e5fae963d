"""Staying in a group over as many connections as it takes.

One task (`keep`) subscribes, waits until the connection is lost, and subscribes again. What waits in
the inbox when a connection is lost is dropped, because the node delivers it again; what the
application already holds can still be acked, because positions never change, but no longer extended
or given back: those leases ended with the connection.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import anyio

from chronosdb.client.attachment import Attachment, Terms
from chronosdb.client.chunk import Chunk, Slice
from chronosdb.client.errors import client_closed
from chronosdb.client.inbox import Inbox
from chronosdb.client.link import Link
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ChronosError, LeaseLost, Timeout

#: How long leaving waits for the node to confirm; it has the request by then in any case.
LEAVE_S: Final = 2.0


class Membership:
    """One member of a group. Its deliveries go to `inbox`."""

    def __init__(self, link: Link, number: int, terms: Terms, inbox: Inbox) -> None:
        self._link = link
        self._number = number
        self._terms = terms
        self._inbox = inbox
        self._keeping = anyio.CancelScope()
        #: Where Subscribe was sent and not refused, as long as that connection lives.
        self._attachment: Attachment | None = None
        #: Invariant: set exactly when `_attachment` is confirmed, or the inbox has ended.
        self._settled = anyio.Event()
        #: Why the last attempt to subscribe failed.
        self._trouble: ChronosError | None = None

    async def keep(self) -> None:
        """Stay subscribed until `leave`; runs as a task beside the application."""
        try:
            with self._keeping:
                while True:
                    attachment = await self._attach()
                    await attachment.connection.lost.wait()
                    self._detach()
        except ChronosError as error:
            self._end(error)
        finally:
            self._end(client_closed())

    async def joined(self) -> None:
        """Wait until the node has confirmed the first subscription.

        Raises:
            ChronosError: it refused, or could not be asked within the deadline.
        """
        timeout_s = self._link.retry.timeout_s
        with anyio.move_on_after(timeout_s):
            await self._settled.wait()
            self._inbox.check()
            return
        raise self._trouble or Timeout(f"no subscription within {timeout_s:g} s")

    async def leave(self) -> None:
        """Give everything back that was not handed out, and end the inbox."""
        attachment = self._attachment
        self._keeping.cancel()
        self._end(None)
        if attachment is not None:
            reply = attachment.unsubscribe()
            with anyio.move_on_after(LEAVE_S), suppress(ChronosError):
                await reply.wait(m.Done)

    async def attachment(self) -> Attachment:
        """Where the node knows this member, once it does.

        Raises:
            ChronosError: it never will again.
        """
        if not self._settled.is_set():  # the usual case without a pause: more acks share a frame
            await self._settled.wait()
        self._inbox.check()
        if self._attachment is None:
            raise LeaseLost("the subscription was left; what was not acked is delivered again")
        return self._attachment

    def lessee(self, part: Slice) -> Attachment:
        """Where the lease of these deliveries lives.

        Raises:
            LeaseLost: nowhere any more.
        """
        attachment = part.chunk.attachment
        if attachment is not self._attachment or attachment.connection.lost.is_set():
            raise LeaseLost("the lease ended with its connection; the event is delivered again")
        return attachment

    def return_credits(self) -> None:
        """Let the node send more, if it is time for that."""
        confirmed = self._settled.is_set()
        if self._attachment is not None and confirmed and (credits_ := self._inbox.give_back()):
            self._attachment.grant(credits_)

    async def _attach(self) -> Attachment:
        """Subscribe, as often as it takes; raises the error that says there is no point."""
        for delay_s in self._link.retry.delays_s():
            try:
                attachment = Attachment(await self._link.connection(), self._number)
                await self._subscribe(attachment)
            except ChronosError as error:
                self._detach()
                if not error.retryable:
                    raise
                self._trouble = error
                await anyio.sleep(delay_s)
            else:
                return attachment
        raise AssertionError("the waits have no end")

    async def _subscribe(self, attachment: Attachment) -> None:
        def receive(message: m.Deliver) -> None:
            self._inbox.receive(Chunk(message, attachment))

        # Deliveries may arrive in one read with the confirmation: all is ready for them before.
        self._attachment = attachment
        await attachment.subscribe(self._terms, self._inbox.open(), receive).wait(m.Done)
        self._settled.set()
        self.return_credits()

    def _detach(self) -> None:
        if self._attachment is None:
            return
        self._attachment.connection.unbind(self._number)
        self._attachment = None
        self._inbox.drop()
        if self._settled.is_set() and not self._inbox.ended:
            self._settled = anyio.Event()

    def _end(self, failure: ChronosError | None) -> None:
        self._inbox.end(failure)
        self._detach()
        self._settled.set()
