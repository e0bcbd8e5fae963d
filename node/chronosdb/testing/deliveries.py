"""What the node hands out, seen on the wire: a witness that believes neither node nor client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from chronosdb.wire import EventBatch
from chronosdb.wire import messages as m
from chronosdb.wire.frames import FrameDecoder
from chronosdb.wire.limits import MAX_FRAME_BYTES


@dataclass(frozen=True, slots=True)
class Delivered:
    """One delivery of one event, as the node put it on the wire."""

    topic: str
    group: str
    partition: int
    offset: int
    #: 1 for the first; more when it was nacked, or its ack did not come in time.
    attempt: int
    message_id: str
    key: bytes | None
    payload: bytes
    #: When it was due, epoch ms.
    schedule_ts: int
    #: What the node's wall clock showed when the delivery left it, epoch ms.
    sent_ms: int

    @property
    def lateness_ms(self) -> int:
        """How long after its time it was sent; negative: before."""
        return self.sent_ms - self.schedule_ts


@final
class Witness:
    """Reads along on one connection."""

    def __init__(self, now_ms: Callable[[], int], saw: Callable[[Delivered], None]) -> None:
        self._now_ms = now_ms
        self._saw = saw
        self._from_client = FrameDecoder(MAX_FRAME_BYTES)
        self._from_node = FrameDecoder(MAX_FRAME_BYTES)
        #: What each subscription of this connection subscribed to.
        self._subscriptions: dict[int, m.Subscribe] = {}

    def client_sent(self, data: bytes) -> None:
        """Takes note of subscriptions."""
        self._from_client.feed(data)
        while (body := self._from_client.next_frame()) is not None:
            message = m.decode_from_client(body)
            if isinstance(message, m.Subscribe):
                self._subscriptions[message.subscription] = message

    def node_sent(self, data: bytes) -> None:
        """Takes note of deliveries."""
        self._from_node.feed(data)
        while (body := self._from_node.next_frame()) is not None:
            message = m.decode_from_server(body)
            if isinstance(message, m.Deliver):
                self._note(message)

    def _note(self, frame: m.Deliver) -> None:
        subscription = self._subscriptions[frame.subscription]
        batch, sent_ms = EventBatch(frame.batch), self._now_ms()
        offsets, attempts = frame.offsets.cast("q"), frame.attempts.cast("H")
        for i in range(batch.count):
            self._saw(
                Delivered(
                    topic=subscription.topic,
                    group=subscription.group,
                    partition=frame.partition,
                    offset=offsets[i],
                    attempt=attempts[i],
                    message_id=batch.message_id(i).decode(),
                    key=batch.key(i),
                    payload=bytes(batch.payload(i)),
                    schedule_ts=batch.due[i],
                    sent_ms=sent_ms,
                )
            )
