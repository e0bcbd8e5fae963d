from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from chronosdb.client import (
    AuthError,
    Client,
    ConnectionLost,
    InvalidArgument,
    ProtocolError,
    Timeout,
)
from chronosdb.client import connect as connect_function
from chronosdb.client.dialer import DIAL_S
from chronosdb.wire import messages as m
from tests.client.fake_node import Script, client_of, fails_with, running_node
from tests.client.virtual_time import both_backends


def welcome(**changed: Any) -> Script:
    """A greeting of another kind than usual."""
    usual = {"version": 1, "cluster_id": "c", "node_id": "n", "server_ms": 0}
    fields = {**usual, "max_frame_bytes": 2**24, **changed}
    return lambda peer, _: peer.say(m.Welcome(**fields))


@both_backends
async def test_a_client_says_who_it_is() -> None:
    async with running_node() as node:
        async with connect_function(
            "node:1", token="secret", client_name="billing", stream_factory=node.dial
        ):
            assert node.got(m.Hello) == [m.Hello(1, "billing", "secret")]
        assert node.dialled == [("node", 1)]


@both_backends
async def test_the_first_address_that_answers_is_used() -> None:
    async with running_node() as node:

        async def dial(host: str, port: int) -> ByteStream:
            node.down = host != "n3"
            return await node.dial(host, port)

        async with connect_function("n1,n2,n3,n4", stream_factory=dial) as db:
            await db.ping()
        assert [host for host, _ in node.dialled] == ["n1", "n2", "n3"]


@both_backends
async def test_a_first_connection_that_fails_raises_at_once() -> None:
    async with running_node() as node:
        node.down = True
        started_s = anyio.current_time()
        with pytest.raises(ConnectionLost, match="connecting to node:9000: nobody listens"):
            async with client_of(node):
                raise AssertionError("not reached")
        assert anyio.current_time() == started_s


@both_backends
async def test_an_address_that_never_answers_gives_way_to_the_next() -> None:
    async with running_node() as node:

        async def dial(host: str, port: int) -> ByteStream:
            if host == "hole":
                await anyio.sleep_forever()
            return await node.dial(host, port)

        started_s = anyio.current_time()
        async with connect_function("hole,node", stream_factory=dial):
            assert anyio.current_time() - started_s == pytest.approx(DIAL_S)


@both_backends
async def test_the_deadline_bounds_connecting_too() -> None:
    async def dial(_host: str, _port: int) -> ByteStream:
        await anyio.sleep_forever()
        raise AssertionError("not reached")

    with pytest.raises(Timeout, match="no connection within 2 s"):
        async with connect_function("hole", timeout=2, stream_factory=dial):
            raise AssertionError("not reached")


@both_backends
async def test_a_node_that_accepts_but_says_nothing_is_given_up() -> None:
    async with running_node() as node:
        node.script(m.Hello, lambda _peer, _hello: None)
        with pytest.raises(ConnectionLost, match="did not answer within 5 s"):
            async with client_of(node):
                raise AssertionError("not reached")
        await anyio.wait_all_tasks_blocked()
        assert not node.peers, "the stream is closed"


@pytest.mark.parametrize(
    ("greeting", "error", "text"),
    [
        (fails_with(AuthError("wrong token")), AuthError, "wrong token"),
        (welcome(version=2), ProtocolError, "speaks protocol 2, this client 1"),
        (welcome(max_frame_bytes=4096), ProtocolError, "frames of 4096 bytes"),
        (lambda peer, _: peer.say(m.Closing("full")), ConnectionLost, "full"),
        (lambda peer, _: peer.cut(), ConnectionLost, "closed the connection"),
        (lambda peer, _: peer.say_bytes(b"HTTP/1.1 400 Bad Request\r\n"), ProtocolError, "frame"),
        (lambda peer, _: peer.say_bytes(b"\0\0\0\2\x91\x06"), ProtocolError, "not a message"),
    ],
)
@both_backends
async def test_a_greeting_that_is_no_welcome_is_a_clear_error(
    greeting: Script, error: type[Exception], text: str
) -> None:
    async with running_node() as node:
        node.script(m.Hello, greeting)
        with pytest.raises(error, match=text):
            async with client_of(node):
                raise AssertionError("not reached")
        await anyio.wait_all_tasks_blocked()
        assert not node.peers, "the stream is closed"


@both_backends
async def test_of_several_failures_the_one_that_may_pass_is_raised() -> None:
    """As long as one node may come back, trying again makes sense."""
    async with running_node() as node:

        async def dial(host: str, port: int) -> ByteStream:
            node.down = host == "n2"
            node.script(m.Hello, fails_with(AuthError("wrong token")))
            return await node.dial(host, port)

        with pytest.raises(ConnectionLost):
            async with connect_function("n1,n2", stream_factory=dial):
                raise AssertionError("not reached")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"addresses": "a b"}, InvalidArgument),
        ({"timeout": 0}, InvalidArgument),
        ({"client_name": "x" * 129}, InvalidArgument),
        ({"token": "x" * 1025}, InvalidArgument),
        ({"token": b"x"}, InvalidArgument),
    ],
)
@both_backends
async def test_bad_arguments_are_refused_before_dialling(
    arguments: dict[str, Any], error: type[Exception]
) -> None:
    async with running_node() as node:
        with pytest.raises(error):
            async with connect_function(
                **{"addresses": "node", "stream_factory": node.dial, **arguments}
            ):
                raise AssertionError("not reached")
        assert not node.dialled


@both_backends
async def test_leaving_says_goodbye_and_closes_the_stream() -> None:
    async with running_node() as node:
        async with client_of(node):
            pass
        await anyio.wait_all_tasks_blocked()
        assert isinstance(node.received[-1], m.Closing)
        assert not node.peers


@both_backends
async def test_an_error_of_the_block_comes_out_as_it_is() -> None:
    """Not wrapped in a group, with its own cause."""
    async with running_node() as node:
        cause = KeyError("why")
        with pytest.raises(ValueError, match="mine") as caught:
            async with client_of(node), client_of(node):
                raise ValueError("mine") from cause
        assert caught.value.__cause__ is cause


@pytest.mark.parametrize("use", [lambda db: db.ping(), lambda db: db.publish("orders", b"")])
@both_backends
async def test_a_closed_client_says_so(use: Callable[[Client], Awaitable[object]]) -> None:
    async with running_node() as node:
        async with client_of(node) as db:
            await db.create_topic("orders")
        with pytest.raises(ConnectionLost, match="the client is closed"):
            await use(db)


@both_backends
async def test_a_request_of_another_task_ends_with_the_client() -> None:
    async with running_node() as node:
        node.script(m.Ping, lambda _peer, _ping: None)
        outcomes: list[BaseException] = []

        async def wait(node_client: Any) -> None:
            try:
                await node_client.ping()
            except ConnectionLost as error:
                outcomes.append(error)

        async with anyio.create_task_group() as tasks, client_of(node) as db:
            tasks.start_soon(wait, db)
            await anyio.wait_all_tasks_blocked()
        assert [str(error)[:20] for error in outcomes] == ["the client is closed"]
