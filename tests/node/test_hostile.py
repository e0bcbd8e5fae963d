"""Bytes from somebody who means harm, or knows no better: an error or the door, and nobody else notices."""

from __future__ import annotations

import struct
from contextlib import suppress
from random import Random

import msgpack
import pytest
import trio
from trio.testing import MockClock

from chronosdb.wire import encode_batch
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ChronosError, InvalidArgument, NotFound, ProtocolError
from chronosdb.wire.frames import frame
from chronosdb.wire.limits import MAX_FRAME_BYTES
from tests.support.in_process import START_MS, Broker, broker, topic_broker
from tests.support.raw_client import RawClient, event


async def dialled(node: Broker) -> RawClient:
    client = node.client()
    await client.dial()
    return client


async def all_is_well(client: RawClient) -> None:
    """Somebody else's connection works as before."""
    await client.publish(event(f"well at {trio.current_time()}"))
    await client.ack(await client.next_event(within_ms=100))


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "at most 4096"),
        (b"\x00\x00\x00\x00", "0 bytes"),
        (b"\xff\xff\xff\xff", "at most 4096"),
        (frame(b"\xc1"), "not a message"),
        (frame(b"\x91" * 1000), "not a message"),
        (frame(msgpack.packb([99, 1])), "not a message"),
        (frame(msgpack.packb([1, "one", "me"])), "not a message"),
        (frame(msgpack.packb([1, 1, "x" * 4000])), "not a message"),
        (frame(msgpack.packb([1, 1, b"\xff"])), "not a message"),
        (frame(msgpack.packb([2, 1, "", "", 0, 1])), "not a message"),
        (frame(msgpack.packb([12, 1])), "before the handshake"),
        (frame(msgpack.packb([1, 2, "me"])), "version 2; this node speaks 1"),
    ],
    ids=[
        "another protocol", "empty frame", "4 GB", "reserved byte", "nesting", "unknown tag",
        "wrong type", "long name", "not UTF-8", "a node's message", "no hello", "wrong version",
    ],
)  # fmt: skip
async def test_whoever_does_not_shake_hands_hears_why_and_is_shown_the_door(
    clock: MockClock, sent: bytes, says: str
) -> None:
    """At once, with a reason, whatever it was that came."""
    async with topic_broker(clock) as (node, other):
        await other.subscribe()
        client = await dialled(node)
        await client.stream.send_all(sent)
        assert says in await client.closed()
        await all_is_well(other)


async def dribble(client: RawClient) -> None:
    """A greeting of 4 KB, a byte every second."""
    for byte in (4096).to_bytes(4, "big") + bytes(4096):
        await client.stream.send_all(bytes([byte]))
        await trio.sleep(1)


@pytest.mark.parametrize("silent", [True, False])
async def test_a_connection_has_five_seconds_to_say_hello(clock: MockClock, silent: bool) -> None:
    """All told: a byte every second does not buy more."""
    async with broker(clock) as node, trio.open_nursery() as nursery:
        client = await dialled(node)
        opened_ms = node.now_ms
        if not silent:
            nursery.start_soon(dribble, client)
        assert "too long" in await client.closed()
        assert node.now_ms - opened_ms == 5000
        nursery.cancel_scope.cancel()


def nack(position: object = 0, attempt: object = 1, reason: object = "") -> list[object]:
    return [35, 1, 1, 0, position, attempt, None, reason]


@pytest.mark.parametrize(
    "fields",
    [
        [0],
        [3],
        [3, "one"],
        [3, -1],
        [3, 2**32],
        [3, 1.5],
        [10, 1, "", 1, {}],
        [10, 1, "..", 1, {}],
        [10, 1, "a/b", 1, {}],
        [10, 1, "a\n", 1, {}],
        [10, 1, "x" * 250, 1, {}],
        [10, 1, "t2", 0, {}],
        [10, 1, "t2", 1025, {}],
        [10, 1, "t2", 1, {"max_attempts": "5"}],
        [10, 1, "t2", 1, {1: 5}],
        [20, 1, "t", -1, b""],
        [20, 1, "t", 0, "text"],
        [22, 1, "t", 0, b""],
        [22, 1, "t", 0, b"x" * 129],
        [30, 1, 1, "t", "g", "exclusive", "earliest", 10],
        [30, 1, 1, "t", "g", "shared", "yesterday", 10],
        [30, 1, 1, "t", "g", "shared", 1.5, 10],
        [30, 1, 1, "t", "g", "shared", "earliest", 10**7],
        nack(position=-1),
        nack(position=2**63),
        nack(attempt=0),
        nack(attempt=65_536),
        nack(reason="x" * 2000),
        [1, 1, "again"],
        {"request": 1},
        12,
        None,
    ],
    ids=lambda fields: repr(fields)[:40],
)
async def test_a_message_that_is_none_closes_its_connection_only(
    clock: MockClock, fields: object
) -> None:
    """Wrong tags, types, lengths and numbers are refused where they are decoded."""
    async with topic_broker(clock) as (node, other):
        await other.subscribe()
        client = await node.connect()
        await client.stream.send_all(frame(msgpack.packb(fields)))
        assert "protocol error" in await client.closed()
        await all_is_well(other)


@pytest.mark.parametrize("tag", [10, 11, 30])
async def test_a_name_of_ten_megabytes_is_refused_before_it_is_decoded(
    clock: MockClock, tag: int
) -> None:
    """Only messages with columns may be that large."""
    async with topic_broker(clock) as (node, other):
        await other.subscribe()
        client = await node.connect()
        body = frame(msgpack.packb([tag, 1, "x" * 10_000_000]))
        with suppress(trio.BrokenResourceError):
            await client.stream.send_all(body)
        assert "only messages with columns" in await client.closed()
        await all_is_well(other)


async def test_a_frame_over_the_cap_is_refused_when_it_is_announced(clock: MockClock) -> None:
    """Before any of it is taken in."""
    async with topic_broker(clock) as (node, other):
        await other.subscribe()
        client = await node.connect()
        await client.stream.send_all((MAX_FRAME_BYTES + 1).to_bytes(4, "big"))
        assert f"at most {MAX_FRAME_BYTES}" in await client.closed()
        await all_is_well(other)


async def test_a_connection_that_breaks_inside_a_frame_leaves_nothing(clock: MockClock) -> None:
    """Half a publish is no publish."""
    async with topic_broker(clock) as (node, other):
        client = await node.connect()
        batch = memoryview(encode_batch([event("half", START_MS + 10**6)]))
        data = client.session.send(m.Publish(1, "t", 0, batch))
        await client.stream.send_all(data[:-1])
        await client.close()
        assert (await other.get("half")).state == ""


def batch_with(at: int, value: bytes) -> bytes:
    """The bytes of a batch of one event, some of them overwritten."""
    good = bytearray(encode_batch([event("a", START_MS, b"payload", key=b"k")]))
    good[at : at + len(value)] = value
    return bytes(good)


@pytest.mark.parametrize(
    "batch",
    [
        b"",
        b"\x00\x00\x00\x00",
        b"\xff\xff\xff\xff",
        struct.pack("<I", 2),
        batch_with(0, b"\x02"),
        batch_with(12, b"\xff\xff\xff\xff"),
        batch_with(16, b"\xff\xff\xff\x7f"),
        batch_with(22, b"\x00"),
        batch_with(22, b"\xff"),
        encode_batch([event("a")]) + b"x",
        encode_batch([event("a")])[:-1],
    ],
    ids=repr,
)
async def test_a_batch_whose_columns_lie_is_refused(clock: MockClock, batch: bytes) -> None:
    """Nothing of it is stored, and the connection goes on."""
    async with topic_broker(clock) as (_, client):
        with pytest.raises((ProtocolError, InvalidArgument)):
            await client.call(m.Publish, "t", 0, memoryview(batch))
        assert (await client.publish(event("b", START_MS + 10**6))).first_offset == 0


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (event("x" * 129), "message_id is 129"),
        (event(""), "message_id is 0"),
        (event("a", key=b"k" * 1025), "key is 1025"),
        (event("a", 2**62 + 1), "schedule_ts"),
        (event("a", meta={"m": "x" * 66_000}), "meta is"),
        (event("a", payload=b"x" * ((4 << 20) + 1)), "payload is 4194305"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
async def test_an_event_beyond_a_limit_is_refused_by_name(
    clock: MockClock, row: object, says: str
) -> None:
    """The node checks what the client library checks."""
    async with topic_broker(clock) as (_, client):
        with pytest.raises(InvalidArgument, match=says):
            await client.publish(row)  # type: ignore[arg-type]


async def test_acks_of_what_is_not_there_do_no_harm(clock: MockClock) -> None:
    """Positions beyond the end, all of them at once, odd bytes, too many runs."""
    async with topic_broker(clock) as (_, client):
        number = await client.subscribe()
        for runs in ([(0, 2**62)], [(2**62, 2**63 - 1)], [(5, 6), (5, 6), (0, 9)]):
            packed = b"".join(struct.pack("<qq", *run) for run in runs)
            await client.call(m.Ack, number, 0, memoryview(packed))
        for raw in (
            bytes(8),
            struct.pack("<qq", 5, 5),
            struct.pack("<qq", -1, 5),
            bytes(16) * 20_000,
        ):
            with pytest.raises(ChronosError):
                await client.call(m.Ack, number, 0, memoryview(raw))
        with pytest.raises(NotFound):
            await client.call(m.Ack, number, 7, memoryview(struct.pack("<qq", 0, 1)))
        await client.publish(event("not acked before it was there"))
        assert (await client.next_event()).position == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
async def test_noise_breaks_nothing(clock: MockClock, seed: int) -> None:
    """Valid conversations with a few bytes flipped, by the hundred; what was stored stays."""
    rng = Random(seed)
    async with topic_broker(clock) as (node, other):
        await other.subscribe()
        await other.publish(event("kept", START_MS + 10**9, b"content"))
        for _ in range(100):
            client = await node.connect()
            batch = memoryview(encode_batch([event(f"e{i}") for i in range(rng.randint(1, 5))]))
            number = rng.randrange(5)
            said = [
                m.Publish(1, "t", 0, batch),
                m.Subscribe(2, number, "t", "noise", "shared", "earliest", 10),
                m.Ack(3, number, 0, memoryview(struct.pack("<qq", 0, 3))),
                m.Nack(4, number, 0, 1, 1, 10, ""),
                m.CreateTopic(5, "noise", 2, {"max_attempts": 3}),
                m.Get(6, "t", 0, b"kept"),
            ]
            data = bytearray(b"".join(map(client.session.send, said)))
            for _ in range(rng.randint(1, 4)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            await client.stream.send_all(data)
            await client.stream.send_eof()
            await client.closed()
        await other.drain()
        found = await other.get("kept")
        assert found.state == "pending"
        assert bytes(found.batch).endswith(b"content")
