"""Makes connections: stream and handshake, one address after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import anyio
from anyio.abc import ByteStream

from chronosdb.client.addresses import Address
from chronosdb.client.connection import READ_BYTES, Connection
from chronosdb.client.contacts import Contacts
from chronosdb.client.errors import stream_errors, to_error
from chronosdb.client.seams import Seams, StreamFactory
from chronosdb.wire import Role, Session
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ChronosError, ConnectionLost, ProtocolError
from chronosdb.wire.limits import PROTOCOL_VERSION

#: For stream and handshake with one address: past this another address may well be quicker.
DIAL_S: Final = 5.0
#: What a node must take at least, so that every request without payloads fits.
MIN_FRAME_BYTES: Final = 128 * 1024


@dataclass(frozen=True, slots=True)
class Dialer:
    """Who to call, and as whom."""

    contacts: Contacts
    hello: m.Hello
    open_stream: StreamFactory
    seams: Seams

    async def dial(self) -> Connection:
        """A connection to the first node that gives one.

        Raises:
            ChronosError: none did. It is retryable unless every node refused for good, say for a
                wrong token.
        """
        failures: list[ChronosError] = []
        for address in self.contacts.in_order():
            try:
                return await self.dial_one(address)
            except ChronosError as error:
                self.contacts.failed(address)
                failures.append(error)
        # One node that may come back is reason enough to try again.
        raise max(failures, key=lambda error: error.retryable)

    async def dial_one(self, address: Address) -> Connection:
        """A connection to the node at `address`; raises ChronosError."""
        try:
            with anyio.fail_after(DIAL_S), stream_errors(f"connecting to {address}"):
                stream = await self.open_stream(address.host, address.port)
                connection = await self._shake_hands(stream)
                connection.dialled = address
                return connection
        except TimeoutError:
            raise ConnectionLost(f"{address} did not answer within {DIAL_S:.0f} s") from None

    async def _shake_hands(self, stream: ByteStream) -> Connection:
        session = Session(Role.CLIENT)
        try:
            await stream.send(session.send(self.hello))
            welcome = _accepted(await _first_message(stream, session))
            return Connection(stream, session, welcome, self.seams.now_ms)
        except BaseException:
            await anyio.aclose_forcefully(stream)
            raise


async def _first_message(stream: ByteStream, session: Session) -> object:
    while (message := session.next_message()) is None:
        session.receive_data(await stream.receive(READ_BYTES))
    return message


def _accepted(message: object) -> m.Welcome:
    match message:
        case m.Failed():
            raise to_error(message)
        case m.Closing():
            raise ConnectionLost(f"the node closes the connection: {message.reason}")
        case m.Welcome() if message.version != PROTOCOL_VERSION:
            raise ProtocolError(
                f"the node speaks protocol {message.version}, this client {PROTOCOL_VERSION}:"
                " use a client of the node's release"
            )
        case m.Welcome() if message.max_frame_bytes < MIN_FRAME_BYTES:
            raise ProtocolError(
                f"the node takes frames of {message.max_frame_bytes} bytes;"
                f" this client needs {MIN_FRAME_BYTES}"
            )
        case m.Welcome():
            return message
        case _:
            raise ProtocolError(f"the node greets with {type(message).__name__}, not Welcome")
