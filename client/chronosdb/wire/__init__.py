"""The contract that clients and nodes share: events, columns, messages, session state, errors, limits.

Nothing here does I/O or knows the time: bytes go in, messages come out.
"""

from __future__ import annotations

from chronosdb.wire.batch import BatchBuilder, EventBatch, Row, encode_batch, encode_columns
from chronosdb.wire.event import Event, epoch_ms
from chronosdb.wire.routing import partition_for
from chronosdb.wire.session import Role, Session, State

__all__ = [
    "BatchBuilder",
    "Event",
    "EventBatch",
    "Role",
    "Row",
    "Session",
    "State",
    "encode_batch",
    "encode_columns",
    "epoch_ms",
    "partition_for",
]
