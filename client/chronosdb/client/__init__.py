"""The ChronosDB client: publish events with the time at which they are due, consume them when they are.

Works on trio and on asyncio. Start at `connect`.
"""

from __future__ import annotations

from chronosdb.client.buffered import BufferedPublisher, Sent
from chronosdb.client.client import Client
from chronosdb.client.connect import connect
from chronosdb.client.dead_letters import DeadLetter
from chronosdb.client.delivery import Delivery, DeliveryBatch
from chronosdb.client.pending import ChangeResult
from chronosdb.client.replay.event import ReplayedEvent
from chronosdb.client.replay.replay import Replay
from chronosdb.client.results import PublishResult, StoredEvent
from chronosdb.client.schedules import Schedule
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
from chronosdb.wire.messages import (
    GroupInfo,
    GroupMember,
    GroupMove,
    GroupPartition,
    GroupSummary,
    NodeStats,
    TopicInfo,
    TopicStats,
)

__all__ = [
    "AuthError",
    "BufferedPublisher",
    "ChangeResult",
    "ChronosError",
    "Client",
    "Conflict",
    "ConnectionLost",
    "DeadLetter",
    "Delivery",
    "DeliveryBatch",
    "Event",
    "GroupInfo",
    "GroupMember",
    "GroupMove",
    "GroupPartition",
    "GroupSummary",
    "InvalidArgument",
    "LeaseLost",
    "NodeStats",
    "NotFound",
    "NotLeader",
    "Overloaded",
    "ProtocolError",
    "PublishResult",
    "Replay",
    "ReplayedEvent",
    "Schedule",
    "Seams",
    "Sent",
    "StoredEvent",
    "StreamFactory",
    "Subscription",
    "Timeout",
    "TopicInfo",
    "TopicStats",
    "connect",
]
