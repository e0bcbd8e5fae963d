"""Dead letters that nobody has dealt with yet: listed, and settled.

They are the events of a dead-letter topic that the group REDRIVE_GROUP has not settled.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from chronosdb.wire.limits import MAX_PAGE_ROWS
from chronosdb.wire.messages.base import Answer, Count, Message, Name, PartitionId, RequestId

#: Its cursor says which dead letters were redriven or purged.
REDRIVE_GROUP: Final = "chronos.redrive"


class ListDeadLetters(Message, frozen=True, array_like=True, tag=55):
    """Ask for dead letters at `position` and above, in position order, at most `limit`."""

    request: RequestId
    topic: Name
    partition: PartitionId
    position: Count
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE_ROWS)]


class DeadLettersPage(Answer, frozen=True, array_like=True, tag=56):
    """Some dead letters. `next`: the position at which to ask for more; None: there are no more.

    Columns, one entry per event: `positions` i64, `offsets` i64, `published` i64 (epoch ms); `batch`
    holds the events in the same order, and is empty when there are none.
    """

    positions: memoryview
    offsets: memoryview
    published: memoryview
    batch: memoryview
    next: Count | None


class SettleDeadLetters(Message, frozen=True, array_like=True, tag=57):
    """These were dealt with. `runs`: i64 pairs (first position, position after the last)."""

    request: RequestId
    topic: Name
    partition: PartitionId
    runs: memoryview
    outcome: Annotated[str, Meta(pattern=r"^(redriven|purged)\Z")]
