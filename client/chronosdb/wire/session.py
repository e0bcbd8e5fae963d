"""One connection's protocol state, without I/O: bytes in, messages out, and back.

    OPENING --Hello/Welcome--> OPEN --Closing--> CLOSED       any state --violation--> CLOSED

A client sends Hello first and may send requests only after Welcome; the tables below say which
message is legal for a side in a state. Both sides run this same file.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

import msgspec

from chronosdb.wire import messages as m
from chronosdb.wire.errors import ProtocolError
from chronosdb.wire.frames import FrameDecoder, frame
from chronosdb.wire.limits import (
    MAX_CONTROL_FRAME_BYTES,
    MAX_FRAME_BYTES,
    MAX_HANDSHAKE_FRAME_BYTES,
)


class Role(Enum):
    """Which side of the connection this is."""

    CLIENT = "client"
    SERVER = "server"


class State(Enum):
    """How far the connection has come."""

    OPENING = "opening"
    OPEN = "open"
    CLOSED = "closed"


#: The one message each side may send while OPENING (either may also say Closing or Failed).
_GREETING: Final[dict[Role, type[m.Message]]] = {Role.CLIENT: m.Hello, Role.SERVER: m.Welcome}
_PEER: Final = {Role.CLIENT: Role.SERVER, Role.SERVER: Role.CLIENT}
_ALWAYS: Final = (m.Closing, m.Failed)
#: The messages that change a session which is open, or break its protocol; all others only pass.
_STEPS: Final = frozenset({m.Hello, m.Welcome, m.Closing})


class Session:
    """Protocol state of one side of one connection.

    Invariant: `state` is OPEN exactly when both greetings have passed; only `_step` changes it.
    """

    def __init__(self, role: Role) -> None:
        self.role = role
        self.state = State.OPENING
        self._frames = FrameDecoder(MAX_HANDSHAKE_FRAME_BYTES)
        self._greeted: set[Role] = set()
        self._decode: Callable[[bytes], m.ClientMessage | m.ServerMessage] = (
            m.decode_from_client if role is Role.SERVER else m.decode_from_server
        )

    def send(self, message: m.Message) -> bytes:
        """The bytes that carry `message`.

        Raises:
            ProtocolError: this side may not send it now, or it is too large for a frame.
        """
        self._step(self.role, message)
        body = m.encode(message)
        if len(body) > MAX_FRAME_BYTES:
            raise ProtocolError(f"a message of {len(body)} bytes; at most {MAX_FRAME_BYTES} fit")
        return frame(body)

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Add bytes from the peer; then call `next_message` until it returns None."""
        self._frames.feed(data)

    def next_message(self) -> m.ClientMessage | m.ServerMessage | None:
        """The peer's next message, None when more bytes are needed.

        Raises:
            ProtocolError: the peer broke the protocol; the session is CLOSED.
        """
        if self.state is State.CLOSED:
            return None
        try:
            body = self._frames.next_frame()
            if body is None:
                return None
            message = self._decode_checked(body)
            self._step(_PEER[self.role], message)
        except ProtocolError:
            self.state = State.CLOSED
            raise
        return message

    @property
    def cut(self) -> bool:
        """Whether the stream ended inside a frame, if it ended now."""
        return self._frames.partial

    def _decode_checked(self, body: bytes) -> m.ClientMessage | m.ServerMessage:
        if len(body) > MAX_CONTROL_FRAME_BYTES and not _may_be_large(body):
            raise ProtocolError(
                f"a message of {len(body)} bytes;"
                f" only messages with columns may exceed {MAX_CONTROL_FRAME_BYTES}"
            )
        try:
            return self._decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ProtocolError(f"not a message of this protocol: {error}") from None

    def _step(self, sender: Role, message: m.Message) -> None:
        """The only place where `state` moves forward."""
        if self.state is State.OPEN and type(message) not in _STEPS:
            return
        if self.state is State.CLOSED:
            if sender is self.role and isinstance(message, m.Closing):
                return  # saying why, after a violation
            raise ProtocolError("the connection is closed")
        greeting = isinstance(message, (m.Hello, m.Welcome))
        if self.state is State.OPENING and not greeting and not isinstance(message, _ALWAYS):
            raise ProtocolError(f"{type(message).__name__} before the handshake is done")
        if greeting:
            self._greet(sender, message)
        elif isinstance(message, m.Closing):
            self.state = State.CLOSED

    def _greet(self, sender: Role, message: m.Message) -> None:
        if self.state is not State.OPENING or sender in self._greeted:
            raise ProtocolError(f"a second {type(message).__name__}")
        if sender is Role.SERVER and Role.CLIENT not in self._greeted:
            raise ProtocolError("Welcome before Hello")
        if not isinstance(message, _GREETING[sender]):
            raise ProtocolError(f"a {sender.value} may not send {type(message).__name__}")
        self._greeted.add(sender)
        if len(self._greeted) == len(Role):
            self.state = State.OPEN
            self._frames.limit = MAX_FRAME_BYTES


def _may_be_large(body: bytes) -> bool:
    # The tag is the second byte only of an array with a one-byte header (up to 15 elements), as every
    # message has. The longer headers would let a small message's tag hide behind a large one's.
    return body[0] & 0xF0 == 0x90 and body[1] in m.LARGE_TAGS
