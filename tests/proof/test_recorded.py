"""What the recording client files, with the real node under virtual time."""

from __future__ import annotations

import io

import pytest
import trio
from trio.testing import MockClock

from chronosdb.client import Conflict, Event, LeaseLost
from tests.proof.history import BadHistory, Line, Recorder, read_history
from tests.proof.recorded import Recorded
from tests.support.in_process import Broker, broker


def recorder(node: Broker, sink: io.BytesIO) -> Recorder:
    """On the node's own clocks."""
    return Recorder(sink, lambda: round(trio.current_time() * 1e9), lambda: node.now_ms)


def lines(sink: io.BytesIO, f: str) -> list[Line]:
    """All lines about `f`, returns included."""
    history = list(read_history(sink.getvalue().splitlines(keepends=True)))
    calls = {line.n for line in history if line.f == f and line.n >= 0}
    return [line for line in history if line.f == f or line.n in calls]


async def test_a_life_on_record(clock: MockClock) -> None:
    """Publish, deliver, ack and replay leave a call and a return each, and sights in between."""
    sink = io.BytesIO()
    async with broker(clock) as node, node.library() as client:
        db = Recorded(client, recorder(node, sink), "p")
        await db.create_topic("t")
        await db.publish_many("t", [Event(payload=b"1", key=b"k"), Event(payload=b"2")])
        async with db.consume("t", group="g", member="m") as events:
            async for batch in events.batches():
                await batch.ack()
                break
        replayed = [event.offset async for event in db.replay("t", by="fired")]
    assert replayed == [0, 1]
    call, answer = lines(sink, "publish")
    assert call.args is not None
    assert call.args["id"] == ["p.0", "p.1"]
    assert call.args["key"] == ["6b", None]
    assert answer.ret == {"partition": [0, 0], "offset": [0, 1], "duplicate": [0, 0]}
    [sight] = lines(sink, "deliver")
    assert sight.seen is not None
    assert (sight.proc, sight.seen["position"]) == ("m", [0, 1])
    assert sight.seen["content"] == call.args["content"]
    assert [line.outcome for line in lines(sink, "ack")] == [None, "ok"]
    assert [line.outcome for line in lines(sink, "replay")] == [None, "ok"]
    assert [line.proc for line in lines(sink, "left")] == ["m"]


async def test_what_an_error_says(clock: MockClock) -> None:
    """An error that says so is "fail"; one that may hide a success, or a cancelled call, is "unknown"."""
    sink = io.BytesIO()
    async with broker(clock) as node, node.library(timeout_s=1) as client:
        db = Recorded(client, recorder(node, sink), "p")
        await db.create_topic("t")
        await db.publish("t", b"one", message_id="a")
        with pytest.raises(Conflict):
            await db.publish("t", b"other", message_id="a")
        with pytest.raises(Conflict):
            await db.publish_many(
                "t", [Event(payload=b"x", message_id="a"), Event(payload=b"y", message_id="b")]
            )
        with trio.move_on_after(0):
            await db.publish("t", b"cut off")
    outcomes = [line.outcome for line in lines(sink, "publish") if line.outcome]
    assert outcomes == ["ok", "fail", "unknown", "unknown"]


async def test_a_lost_lease_is_in_doubt(clock: MockClock) -> None:
    """A nack that comes too late may be the second attempt of one that did not."""
    sink = io.BytesIO()
    async with broker(clock, ack_timeout_ms=100) as node, node.library() as client:
        db = Recorded(client, recorder(node, sink), "p")
        await db.create_topic("t")
        await db.publish("t", b"one")
        async with db.consume("t", group="g") as events:
            late = await anext(events)
            await trio.sleep(1)
            with pytest.raises(LeaseLost):
                await late.nack()
    assert [line.outcome for line in lines(sink, "nack")] == [None, "unknown"]


async def test_a_replay_goes_on_where_it_was_left(clock: MockClock) -> None:
    """The second call names the first, and begins behind the last event that is on record."""
    sink = io.BytesIO()
    async with broker(clock) as node, node.library() as client:
        db = Recorded(client, recorder(node, sink), "p")
        await db.create_topic("t")
        await db.publish_many("t", [Event(payload=b"%d" % n) for n in range(3)])
        begun = db.replay("t")
        await anext(begun)
        await begun.aclose()
        rest = [event.offset async for event in begun.resumed(db)]
    first, closed, second, _ = (line for line in lines(sink, "replay") if line.n >= 0)
    assert closed.outcome == "unknown"
    assert second.args is not None
    assert second.args["behind"] == first.n
    seen = [o for line in lines(sink, "replayed") if line.seen for o in line.seen["offset"]]
    assert seen == [0, 1, 2]
    assert set(rest) <= {1, 2}


def test_a_history_cut_off_in_its_last_line_is_read() -> None:
    """Only the last line may be half a line."""
    whole = b'{"t_ns":1,"wall_ms":2,"f":"crash","seen":{}}\n'
    assert len(list(read_history([b"# about\n", whole, whole[:9]]))) == 1
    with pytest.raises(BadHistory, match="line 2"):
        list(read_history([whole, b"{}\n"]))
