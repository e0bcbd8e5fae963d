"""The ChronosDB client: publish events with the time at which they are due, consume them when they are.

Works on trio and on asyncio. Start at `connect`.
"""

from __future__ import annotations

from chronosdb.client.client import Client
from chronosdb.client.connect import connect
from chronosdb.client.delivery import Delivery, DeliveryBatch
from chronosdb.client.results import PublishResult, StoredEvent
from chronosdb.client.seams import Seams, StreamFactory
from chronosdb.client.subscription import Subscription
from chronosdb.wire.errors import (
    AuthError,
    ChronosError,
    Conflict,
    ConnectionLost,
    InvalidArgument,
    LeaseLost,
    NotFound,
    NotLeader,
    Overloaded,
    ProtocolError,
    Timeout,
)
from chronosdb.wire.event import Event
from chronosdb.wire.messages import TopicInfo

__all__ = [
    "AuthError",
    "ChronosError",
    "Client",
    "Conflict",
    "ConnectionLost",
    "Delivery",
    "DeliveryBatch",
    "Event",
    "InvalidArgument",
    "LeaseLost",
    "NotFound",
    "NotLeader",
    "Overloaded",
    "ProtocolError",
    "PublishResult",
    "Seams",
    "StoredEvent",
    "StreamFactory",
    "Subscription",
    "Timeout",
    "TopicInfo",
    "connect",
]
