"""What the log of a stopped node says, as a history."""

from __future__ import annotations

import io
from typing import Any

import trio
from trio.testing import MockClock

from chronosdb.client import Event
from tests.proof.dump import dump
from tests.proof.history import Recorder, content_of, read_history
from tests.support.in_process import DATA_DIR, broker


async def test_a_whole_life(clock: MockClock) -> None:
    """Every record of every partition is there, under the topic's name."""
    async with broker(clock) as node, node.library() as db:
        await db.create_topic("t", partitions=2)
        events = [Event(payload=b"x", message_id=f"e{n}", key=b"k") for n in range(3)]
        await db.publish_many("t", events)
        await db.publish("t", b"later", message_id="later", after=60, key=b"k")
        await db.publish("t", b"never", message_id="never", after=60, key=b"k")
        await db.reschedule("t", "later", at=node.now_ms + 90_000, key=b"k")
        await db.cancel("t", "never", key=b"k")
        async with db.consume("t", group="g") as deliveries:
            async for batch in deliveries.batches():
                await batch[0].nack()
                await batch.ack()
                break
        await node.stop()
        sink = io.BytesIO()
        dump(
            Recorder(sink, lambda: round(trio.current_time() * 1e9), lambda: 0), node.disk, DATA_DIR
        )
    seen: list[dict[str, Any]] = [
        line.seen or {} for line in read_history(sink.getvalue().splitlines(keepends=True))
    ]
    assert {line["topic"] for line in seen} == {"t"}
    assert {line["partition"] for line in seen} == {0, 1}
    [used] = {line["partition"] for line in seen if line["what"] == "publish"}
    log = [line for line in seen if line["partition"] == used]
    stored = [line for line in log if line["what"] == "publish"]
    assert [name for line in stored for name in line["id"]] == ["e0", "e1", "e2", "later", "never"]
    assert stored[0]["content"][0] == content_of(b"k", {}, b"x")
    facts = {line["what"]: line for line in log}
    assert facts["fire"]["offset"] == [0, 1, 2]
    assert facts["move"]["offset"] == [3]
    assert facts["cancel"]["offset"] == [4]
    assert facts["settle"]["runs"] == [[0, 3]]
    assert facts["retry"]["position"] == [0]
    assert facts["group"]["group"] == "g"
    assert (facts["end"]["offset"], facts["end"]["position"]) == (5, 3)
