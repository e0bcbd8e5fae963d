from __future__ import annotations

import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronosdb.wire import Role, Session, State
from chronosdb.wire import messages as m
from chronosdb.wire.errors import ProtocolError
from chronosdb.wire.frames import frame
from chronosdb.wire.limits import MAX_CONTROL_FRAME_BYTES, MAX_FRAME_BYTES
from tests.wire.strategies import FROM_CLIENT, FROM_SERVER

HELLO = m.Hello(1, "test")
WELCOME = m.Welcome(1, "cluster", "node", 0, MAX_FRAME_BYTES)


def pair() -> tuple[Session, Session]:
    """A client and a server whose handshake is done."""
    client, server = Session(Role.CLIENT), Session(Role.SERVER)
    assert carry(client, server, HELLO) == HELLO
    assert carry(server, client, WELCOME) == WELCOME
    return client, server


def carry(sender: Session, receiver: Session, message: m.Message) -> m.Message | None:
    receiver.receive_data(sender.send(message))
    return receiver.next_message()


@given(FROM_CLIENT)
def test_every_message_of_a_client_arrives(message: m.Message) -> None:
    client, server = pair()
    assert carry(client, server, message) == message


@given(FROM_SERVER)
def test_every_message_of_a_node_arrives(message: m.Message) -> None:
    client, server = pair()
    assert carry(server, client, message) == message


def test_a_handshake_opens_both_sides() -> None:
    client, server = Session(Role.CLIENT), Session(Role.SERVER)
    states = [(client.state, server.state)]
    carry(client, server, HELLO)
    states.append((client.state, server.state))
    carry(server, client, WELCOME)
    states.append((client.state, server.state))
    opening, open_ = State.OPENING, State.OPEN
    assert states == [(opening, opening), (opening, opening), (open_, open_)]


#: What a side may send: (who, in which state) → kinds of message. Everything else is a violation.
MAY_SEND = {
    (Role.CLIENT, "new"): {"Hello", "Closing", "Failed"},
    (Role.CLIENT, "greeted"): {"Closing", "Failed"},
    (Role.CLIENT, "open"): {"Ping", "Closing", "Failed"},
    (Role.CLIENT, "closed"): {"Closing"},  # saying why, after a violation
    (Role.SERVER, "new"): {"Closing", "Failed"},
    (Role.SERVER, "greeted"): {"Welcome", "Closing", "Failed"},
    (Role.SERVER, "open"): {"Ping", "Closing", "Failed"},
    (Role.SERVER, "closed"): {"Closing"},
}
SAMPLES = (HELLO, WELCOME, m.Ping(1), m.Closing(""), m.Failed(0, "x", "", False, {}))


def session_at(role: Role, stage: str) -> Session:
    client, server = Session(Role.CLIENT), Session(Role.SERVER)
    if stage != "new":
        carry(client, server, HELLO)
    if stage in {"open", "closed"}:
        carry(server, client, WELCOME)
    if stage == "closed":
        carry(server, client, m.Closing("bye"))
    return client if role is Role.CLIENT else server


@pytest.mark.parametrize(("role", "stage"), list(MAY_SEND))
def test_each_side_may_send_what_the_table_says(role: Role, stage: str) -> None:
    allowed = set()
    for message in SAMPLES:
        session = session_at(role, stage)
        try:
            session.send(message)
        except ProtocolError:
            continue
        allowed.add(type(message).__name__)
    assert allowed == MAY_SEND[role, stage]


@pytest.mark.parametrize(
    ("receiver", "stage", "message"),
    [
        (Role.SERVER, "new", m.Ping(1)),
        (Role.SERVER, "new", WELCOME),
        (Role.SERVER, "greeted", HELLO),
        (Role.SERVER, "open", HELLO),
        (Role.SERVER, "open", WELCOME),
        (Role.SERVER, "open", m.Done(1)),
        (Role.CLIENT, "new", WELCOME),
        (Role.CLIENT, "greeted", m.Done(1)),
        (Role.CLIENT, "open", WELCOME),
        (Role.CLIENT, "open", m.ListTopics(1)),
    ],
)
def test_a_message_out_of_place_closes_the_session(
    receiver: Role, stage: str, message: m.Message
) -> None:
    session = session_at(receiver, stage)
    session.receive_data(frame(m.encode(message)))
    with pytest.raises(ProtocolError):
        session.next_message()
    assert session.state is State.CLOSED


def test_a_closed_session_reads_nothing_more() -> None:
    client, server = pair()
    client.receive_data(server.send(m.Closing("bye")) + frame(m.encode(m.Done(1))))
    assert client.next_message() == m.Closing("bye")
    assert client.next_message() is None


def test_before_the_handshake_frames_are_small() -> None:
    server = Session(Role.SERVER)
    server.receive_data((4097).to_bytes(4, "big"))
    with pytest.raises(ProtocolError, match="at most 4096"):
        server.next_message()


def test_messages_may_follow_the_greeting_in_one_read() -> None:
    client, server = Session(Role.CLIENT), Session(Role.SERVER)
    carry(client, server, HELLO)
    client.receive_data(server.send(WELCOME) + server.send(m.Ping(1)) + server.send(m.Ping(2)))
    assert list(iter(client.next_message, None)) == [WELCOME, m.Ping(1), m.Ping(2)]


def test_a_stream_cut_inside_a_frame_is_noticed() -> None:
    client, server = pair()
    data = client.send(m.Ping(1))
    server.receive_data(data[:-1])
    assert (server.next_message(), server.cut) == (None, True)
    server.receive_data(data[-1:])
    assert (server.next_message(), server.cut) == (m.Ping(1), False)


def test_a_message_larger_than_a_frame_cannot_be_sent() -> None:
    client, _ = pair()
    with pytest.raises(ProtocolError, match="at most 16777216 fit"):
        client.send(m.Publish(1, "t", 0, memoryview(bytes(MAX_FRAME_BYTES))))


HOSTILE = st.binary(min_size=1, max_size=80)
NEARLY = st.tuples(FROM_CLIENT.map(m.encode), st.integers(0, 60), st.integers(0, 255)).map(
    lambda drawn: drawn[0][: drawn[1]] + bytes([drawn[2]]) + drawn[0][drawn[1] + 1 :]
)


@given(HOSTILE | NEARLY)
def test_hostile_frames_give_a_message_or_a_protocol_error(body: bytes) -> None:
    _, server = pair()
    server.receive_data(frame(body))
    try:
        assert isinstance(server.next_message(), m.Message)
    except ProtocolError:
        assert server.state is State.CLOSED


@given(HOSTILE)
def test_a_client_too_survives_hostile_frames(body: bytes) -> None:
    client, _ = pair()
    client.receive_data(frame(body))
    try:
        assert isinstance(client.next_message(), m.Message)
    except ProtocolError:
        assert client.state is State.CLOSED


#: A map and an array that claim 2^32-1 entries, and strings that claim 2^32-1 bytes.
CLAIMS = (
    b"\xdf\xff\xff\xff\xff",
    b"\xdd\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
)
NESTED = (b"\x91" * 60_000, b"\x81\xa1a" * 20_000, b"\x96\x0a\x01\xa1t\x01\x80" + b"\x91" * 60_000)


@pytest.mark.parametrize(
    "body",
    [
        *CLAIMS,
        *(b"\x95\x0a\x01\xa1t\x01" + claim for claim in CLAIMS),
        *(b"\x95\x14\x01\xa1t\x00" + claim for claim in CLAIMS),
        *NESTED,
    ],
    ids=lambda body: f"{body[:9].hex()}-{len(body)}",
)
def test_bombs_of_length_and_of_nesting_cost_nothing(body: bytes) -> None:
    _, server = pair()
    server.receive_data(frame(body))
    tracemalloc.start()
    with pytest.raises(ProtocolError):
        server.next_message()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(body) + 20_000


def peak_of(body: bytes) -> int:
    """The memory it takes to refuse or decode a frame, in bytes."""
    _, server = pair()
    server.receive_data(frame(body))
    tracemalloc.start()
    with suppress(ProtocolError):
        server.next_message()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def settings_of(count: int) -> bytes:
    """A map of `count` short names."""
    entries = b"".join(b"\xa4%04x\x01" % i for i in range(count))
    return b"\xde" + count.to_bytes(2, "big") + entries


def test_a_message_without_columns_may_not_be_large() -> None:
    _, server = pair()
    body = b"\x95\x0a\x01\xa1t\x01" + settings_of(30_000)
    assert len(body) > MAX_CONTROL_FRAME_BYTES
    server.receive_data(frame(body))
    with pytest.raises(ProtocolError, match="only messages with columns"):
        server.next_message()
    assert peak_of(body) < 2 * len(body)


def test_a_long_array_header_does_not_smuggle_a_large_message_past_that() -> None:
    """Its second byte is a count, which may look like the tag of a message with columns."""
    _, server = pair()
    padding = b"\xc0" * (0x1405 - 5)
    server.receive_data(
        frame(b"\xdc\x14\x05" + b"\x0a\x01\xa1t\x01" + settings_of(30_000) + padding)
    )
    with pytest.raises(ProtocolError, match="only messages with columns"):
        server.next_message()


def test_decoding_the_worst_small_message_costs_a_bounded_amount() -> None:
    """64 KiB of two-byte entries: under 8 MiB, however it is packed."""
    count = (MAX_CONTROL_FRAME_BYTES - 20) // 6
    assert peak_of(b"\x95\x0a\x01\xa1t\x01" + settings_of(count)) < 8 * 2**20


@pytest.mark.parametrize("filler", [b"\x80", b"\x90", b"\xc0", b"\xa0"])
def test_decoding_a_large_message_of_the_wrong_types_costs_a_small_multiple(filler: bytes) -> None:
    """16 MiB of empty maps in the place of columns would be a gigabyte of objects."""
    size = 2**20
    body = b"\x95\x14\x01\xa1t\x00\xdd" + size.to_bytes(4, "big") + filler * size
    assert peak_of(body) < 3 * len(body)


def test_columns_are_not_copied() -> None:
    body = m.encode(m.Publish(1, "t", 0, memoryview(bytes(2**20))))
    assert peak_of(body) < 2 * len(body)
