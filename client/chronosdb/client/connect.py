"""From addresses to a client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio

from chronosdb.client.addresses import parse_addresses
from chronosdb.client.arguments import check_text, check_timeout
from chronosdb.client.background import background_tasks
from chronosdb.client.backoff import Backoff
from chronosdb.client.client import Client
from chronosdb.client.cluster import Cluster
from chronosdb.client.connection import Connection
from chronosdb.client.contacts import Contacts
from chronosdb.client.dialer import Dialer
from chronosdb.client.nodes import Nodes
from chronosdb.client.retry import Retry
from chronosdb.client.seams import Seams, StreamFactory, open_tcp
from chronosdb.wire import messages as m
from chronosdb.wire.errors import Timeout
from chronosdb.wire.limits import MAX_CLIENT_NAME_CHARS, MAX_TOKEN_CHARS, PROTOCOL_VERSION

CLIENT_NAME: Final = "chronosdb-python"


@asynccontextmanager
async def connect(
    addresses: str,
    *,
    token: str | None = None,
    timeout: float = 10.0,  # noqa: ASYNC109 - not of this call: of each request of the client
    client_name: str | None = None,
    stream_factory: StreamFactory = open_tcp,
    seams: Seams | None = None,
) -> AsyncIterator[Client]:
    """A client of the node or cluster at `addresses`: "host:9000", or several with commas.

    The first that answers is used; of a cluster the client learns the other nodes from it, so any of
    them will do. The first connection is tried once, so that a wrong address fails at once; what is
    lost later is renewed for as long as the client is open. `timeout` is the deadline of each
    request in seconds, over all its attempts. `client_name` shows in the node's log.
    `stream_factory` and `seams` replace network, clock and randomness, in tests.

    Raises:
        InvalidArgument: an argument is not what it should be.
        ConnectionLost: no node could be reached.
        AuthError: the node does not accept the token.
        ProtocolError: what answers is not a node that speaks this version.
        Timeout: no connection within the deadline.
    """
    seams = seams or Seams()
    retry = Retry(check_timeout(timeout), Backoff(), seams.unit)
    hello = m.Hello(
        PROTOCOL_VERSION,
        check_text("client_name", client_name or CLIENT_NAME, MAX_CLIENT_NAME_CHARS),
        None if token is None else check_text("token", token, MAX_TOKEN_CHARS),
    )
    dialer = Dialer(Contacts(parse_addresses(addresses)), hello, stream_factory, seams)
    connection = await _first_connection(dialer, retry)
    async with background_tasks() as tasks:
        nodes = Nodes(dialer, retry, connection, tasks)
        tasks.start_soon(nodes.run)
        try:
            yield Client(Cluster(nodes, retry, tasks), tasks, seams)
        finally:
            await nodes.close()


async def _first_connection(dialer: Dialer, retry: Retry) -> Connection:
    with anyio.move_on_after(retry.timeout_s):
        return await dialer.dial()
    raise Timeout(f"no connection within {retry.timeout_s:g} s")
