"""What a topic may be told, and what it is refused."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from chronosdb.wire.errors import InvalidArgument
from tests.support.in_process import topic_broker


async def test_a_setting_without_effect_is_refused(clock: MockClock) -> None:
    """A topic is not told that it is replicated when it is not."""
    async with topic_broker(clock) as (_, client):
        with pytest.raises(InvalidArgument, match="replication"):
            await client.create_topic("other", 1, replication=3)
        assert await client.create_topic("other", 1, replication=1)
