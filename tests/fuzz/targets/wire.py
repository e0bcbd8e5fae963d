"""The client port: frames, the handshake, every message, in both directions."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from random import Random

import msgpack

from chronosdb.wire import Role, Session, State
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ProtocolError
from chronosdb.wire.frames import FrameDecoder, frame
from chronosdb.wire.limits import MAX_FRAME_BYTES, PROTOCOL_VERSION
from tests.fuzz.plain import changed
from tests.fuzz.samples import FROM_CLIENT, FROM_SERVER
from tests.fuzz.target import Feature, Target, complaint

_LIMIT = 200
_HELLO = m.Hello(PROTOCOL_VERSION, "fuzz")
_WELCOME = m.Welcome(PROTOCOL_VERSION, "c" * 32, "node", 0, 30_000)


def _frames(data: bytes) -> Feature:
    """Whole or byte by byte, the same frames come out, and they are what went in."""
    whole, pieces = FrameDecoder(_LIMIT), FrameDecoder(_LIMIT)
    whole.feed(data)
    found, ended = _drained(whole)
    slowly: list[bytes] = []
    for i in range(len(data)):
        pieces.feed(data[i : i + 1])
        part, ended_slowly = _drained(pieces)
        slowly += part
        if ended_slowly:
            assert ended == ended_slowly
            break
    assert slowly == found
    assert data.startswith(b"".join(map(frame, found)))
    return len(found) > 1, ended


def _drained(decoder: FrameDecoder) -> tuple[list[bytes], Feature]:
    found = []
    try:
        while (body := decoder.next_frame()) is not None:
            found.append(body)
    except ProtocolError as error:
        return found, complaint(error)
    return found, None


def _session(data: bytes) -> Feature:
    """The first byte says which side listens, and whether it has shaken hands."""
    kind, stream = data[:1] or b"\0", data[1:]
    role = Role.SERVER if kind[0] & 1 else Role.CLIENT
    runs = []
    for step in (len(stream) or 1, 7):
        session = opened(role) if kind[0] & 2 else Session(role)
        if role is Role.CLIENT and not kind[0] & 2:
            session.send(_HELLO)
        runs.append(_heard(session, stream, step))
    assert runs[0] == runs[1], "how bytes arrive must not matter"
    messages, ended = runs[0]
    return role, kind[0] & 2, messages[-1][:2] if messages else None, ended


def _heard(session: Session, stream: bytes, step: int) -> tuple[list[bytes], Feature]:
    heard: list[bytes] = []
    try:
        for at in range(0, len(stream), step):
            session.receive_data(stream[at : at + step])
            while (message := session.next_message()) is not None:
                heard.append(m.encode(message))
    except ProtocolError as error:
        assert session.state is State.CLOSED
        assert session.next_message() is None
        session.send(m.Closing(str(error)[:1024]))
        return heard, complaint(error)
    return heard, session.state


def opened(role: Role) -> Session:
    """A session that has shaken hands."""
    session = Session(role)
    if role is Role.CLIENT:
        session.send(_HELLO)
        session.receive_data(frame(m.encode(_WELCOME)))
        session.next_message()
    else:
        session.receive_data(frame(m.encode(_HELLO)))
        session.next_message()
        session.send(_WELCOME)
    assert session.state is State.OPEN
    return session


def _message(role: Role, data: bytes) -> Feature:
    """One message in a frame of its own: refused, or what it says can be said again."""
    if not 0 < len(data) <= MAX_FRAME_BYTES:
        return None
    session = opened(role)
    session.receive_data(frame(data))
    try:
        message = session.next_message()
    except ProtocolError as error:
        return complaint(error)
    assert message is not None
    said = m.encode(message)
    decode = m.decode_from_client if role is Role.SERVER else m.decode_from_server
    assert m.encode(decode(said)) == said
    return type(message).__name__, tuple(type(v).__name__ for v in _fields(message))


def _fields(message: m.Message) -> Iterator[object]:
    return (getattr(message, name) for name in message.__struct_fields__)


def mend_message(data: bytes, random: Random) -> bytes:
    """Instead of a byte, a value inside changes."""
    try:
        plain = msgpack.unpackb(data, strict_map_key=False)
    except (ValueError, TypeError):
        return data
    return changed(plain, random, data)


def mend_frames(data: bytes, random: Random) -> bytes:
    """Cuts the bytes into frames whose lengths are right, and changes a message now and then."""
    places = sorted(random.sample(range(len(data) + 1), min(len(data) + 1, random.randint(2, 4))))
    parts = [data[a:b] for a, b in pairwise(places)]
    return b"".join(frame(mend_message(part, random)) for part in parts if part)


def _mend_session(data: bytes, random: Random) -> bytes:
    """Keeps the frames as far as they are whole, and changes one message."""
    decoder, first = FrameDecoder(MAX_FRAME_BYTES), data[:1]
    decoder.feed(data[1:])
    bodies, _ = _drained(decoder)
    if not bodies:
        return first + mend_frames(data[1:], random)
    bodies[random.randrange(len(bodies))] = mend_message(random.choice(bodies), random)
    return first + b"".join(map(frame, bodies))


def _frame_seeds() -> list[bytes]:
    return [frame(b"x"), frame(b"one") + frame(b"two"), frame(bytes(_LIMIT))]


def _session_seeds() -> Iterator[bytes]:
    hello, welcome = frame(m.encode(_HELLO)), frame(m.encode(_WELCOME))
    yield b"\1" + hello + frame(m.encode(m.Ping(1)))
    yield b"\0" + welcome + frame(m.encode(m.Pong(1, 2)))
    # Behind the greeting, and without Closing: what follows it is not read.
    said = [message for message in FROM_CLIENT[1:] if not isinstance(message, m.Closing)]
    told = [message for message in FROM_SERVER[1:] if not isinstance(message, m.Closing)]
    yield b"\3" + b"".join(frame(m.encode(message)) for message in said)
    yield b"\2" + b"".join(frame(m.encode(message)) for message in told)
    yield b"\3" + frame(m.encode(m.Closing("bye"))) + frame(m.encode(m.Ping(1)))


_BOMBS = (
    b"\x91",
    b"\x81",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
)
_WORDS = (
    *_BOMBS,
    b"\xc0",
    b"\xc3",
    b"\xcb\x7f\xf8\0\0\0\0\0\0",
    struct.pack(">bQ", -49, 2**64 - 1),
)

TARGETS = (
    Target("frames", _frames, _frame_seeds, mend_frames),
    Target("session", _session, _session_seeds, _mend_session, _WORDS, largest=8192),
    Target(
        "messages_of_clients",
        lambda data: _message(Role.SERVER, data),
        lambda: map(m.encode, FROM_CLIENT),
        mend_message,
        _WORDS,
        largest=70_000,
    ),
    Target(
        "messages_of_nodes",
        lambda data: _message(Role.CLIENT, data),
        lambda: map(m.encode, FROM_SERVER),
        mend_message,
        _WORDS,
        largest=70_000,
    ),
)
