"""Connections between simulated machines."""

from __future__ import annotations

import anyio
import pytest
import trio

from chronosdb.testing.chance import Random
from chronosdb.testing.network import AnyioStream
from tests.simulation.network import Network
from tests.simulation.trace import Trace
from tests.simulation.virtual_time import in_virtual_time


async def pair(network: Network) -> tuple[AnyioStream, trio.abc.HalfCloseableStream]:
    """The ends of a connection from "a" to "b"."""
    [listener] = await network.interface("b").listen("b", 9000)
    return AnyioStream(await network.dial("a", "b", 9000)), await listener.accept()


@pytest.fixture
def network() -> Network:
    """Each way takes a second, without jitter."""
    one = Network(Trace(trio.current_time), Random(0), short_reads=0)
    for way in (("a", "b"), ("b", "a")):
        link = one.link(*way)
        link.latency_s, link.jitter_s = 1.0, 0.0
    return one


@in_virtual_time
async def test_bytes_arrive_in_order_one_latency_later(network: Network) -> None:
    a, b = await pair(network)
    began_s = trio.current_time()
    await a.send(b"one")
    await trio.sleep(0.5)
    await a.send(b"two")
    assert await b.receive_some() == b"one"
    assert trio.current_time() - began_s == pytest.approx(1.0, abs=0.001)
    assert await b.receive_some() == b"two"
    assert trio.current_time() - began_s == pytest.approx(1.5, abs=0.001)


@in_virtual_time
async def test_a_blocked_way_delays_and_loses_nothing(network: Network) -> None:
    """The other way is open meanwhile."""
    a, b = await pair(network)
    network.block("a", "b", True)
    await a.send(b"late")
    await b.send_all(b"now")
    assert await a.receive() == b"now"
    with trio.move_on_after(60):
        await b.receive_some()
    network.block("a", "b", False)
    assert await b.receive_some() == b"late"


@in_virtual_time
async def test_a_connection_breaks_after_the_byte_one_names(network: Network) -> None:
    """What came before it arrives, then both ends learn of it."""
    a, b = await pair(network)
    [connection] = network.connections("b")
    connection.there.breaks_after = 5
    await a.send(b"0123")
    await a.send(b"4567")
    assert [await b.receive_some(4), await b.receive_some()] == [b"0123", b"4"]
    with pytest.raises(trio.BrokenResourceError):
        await b.receive_some()
    with pytest.raises(anyio.BrokenResourceError):
        await a.receive()


@in_virtual_time
async def test_a_machine_without_power_says_nothing(network: Network) -> None:
    """Who waits for it waits until it is back, and forgets the connection."""
    a, _ = await pair(network)
    network.power_lost("b")
    with trio.move_on_after(3600) as patience:
        await a.receive()
    assert patience.cancelled_caught
    with trio.move_on_after(60) as patience:
        await network.dial("a", "b", 9000)
    assert patience.cancelled_caught
    network.power_back("b")
    with pytest.raises(anyio.BrokenResourceError):
        await a.receive()
    with pytest.raises(ConnectionRefusedError):
        await network.dial("a", "b", 9000)


@in_virtual_time
async def test_a_close_arrives_behind_what_was_sent(network: Network) -> None:
    a, b = await pair(network)
    await a.send(b"last words")
    await a.aclose()
    assert await b.receive_some() == b"last words"
    assert await b.receive_some() == b""
    with pytest.raises(trio.BrokenResourceError):
        await b.send_all(b"too late")


@in_virtual_time
async def test_a_machine_listens_on_several_ports(network: Network) -> None:
    """As a node does, for clients and for its peers."""
    node = network.interface("b")
    [clients], [peers] = await node.listen("b", 9000), await node.listen("b", 9001)
    here = await network.interface("a").open_stream("b", 9001)
    there = await peers.accept()
    await here.send_all(b"peer")
    assert await there.receive_some() == b"peer"
    with trio.move_on_after(60) as patience:
        await clients.accept()
    assert patience.cancelled_caught
    with pytest.raises(ConnectionRefusedError):
        await network.dial("a", "b", 9002)
