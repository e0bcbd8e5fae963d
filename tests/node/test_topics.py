"""What a topic may be told, and what it is refused."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from chronosdb.wire.errors import InvalidArgument
from tests.support.in_process import topic_broker


@pytest.mark.parametrize(
    "setting", [{"replication": 3}, {"retention_ms": 1}, {"retention_bytes": 1}]
)
async def test_a_setting_without_effect_is_refused(
    clock: MockClock, setting: dict[str, int]
) -> None:
    """A topic is not told that it is replicated or cleaned up when it is not."""
    async with topic_broker(clock) as (_, client):
        with pytest.raises(InvalidArgument, match=next(iter(setting))):
            await client.create_topic("other", 1, **setting)
        assert await client.create_topic("other", 1, replication=1)
