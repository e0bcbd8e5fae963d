"""The same client over real sockets: everything else is tested without."""

from __future__ import annotations

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from chronosdb.client import ConnectionLost, connect
from chronosdb.wire import Role, Session
from chronosdb.wire import messages as m


async def serve(stream: SocketStream) -> None:
    """A node that knows only Hello and Ping."""
    session = Session(Role.SERVER)
    async with stream:
        async for data in stream:
            session.receive_data(data)
            while (message := session.next_message()) is not None:
                if isinstance(message, m.Hello):
                    await stream.send(session.send(m.Welcome(1, "c", "n", 0, 2**24)))
                elif isinstance(message, m.Ping):
                    await stream.send(session.send(m.Pong(message.request, 0)))


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_client_reaches_a_node_over_tcp(backend: str) -> None:
    async def check() -> None:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(SocketAttribute.local_port)
        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, serve)
            async with connect(f"127.0.0.1:{port}") as db:
                assert await db.ping() > 0
            tasks.cancel_scope.cancel()

    anyio.run(check, backend=backend)


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_port_where_nobody_listens_is_a_lost_connection(backend: str) -> None:
    async def check() -> None:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(SocketAttribute.local_port)
        await listener.aclose()
        with pytest.raises(ConnectionLost, match=f"connecting to 127.0.0.1:{port}"):
            async with connect(f"127.0.0.1:{port}"):
                raise AssertionError("not reached")

    anyio.run(check, backend=backend)
