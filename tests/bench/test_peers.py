"""What peers are sent, what is read of their replies, and who is left out."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from bench.errors import BenchError
from bench.peers import beanstalkd, nats, redis, suite
from bench.peers.item import item
from bench.peers.wire import Lines, pipeline


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection: ours, and the server's."""
    ours, servers = socket.socketpair()
    with ours, servers:
        ours.settimeout(5)
        yield ours, servers


def test_replies_are_counted_however_they_are_cut() -> None:
    """A reply in two parts is one."""
    count = Lines(b"OK")
    assert [count(b"OK 1\r\nO"), count(b"K 2\r"), count(b"\n")] == [1, 0, 1]
    with pytest.raises(BenchError, match="NO"):
        count(b"NO\r\n")


def test_a_pipeline_returns_when_all_is_acked(ends: tuple[socket.socket, socket.socket]) -> None:
    """Acks that come while it still sends count."""
    ours, servers = ends
    servers.sendall(b"OK\r\n" * 4)
    pipeline(ours, [(b"a", 1), (b"bc", 2), (b"d", 1)], Lines(b"OK"), window=2)
    assert servers.recv(100) == b"abcd"


def test_beanstalkd_is_asked_to_wait_for_whole_seconds_and_never_too_short() -> None:
    """A delay is rounded up, and what is due first is served first."""
    soon = item(1, 10_500)
    words = beanstalkd.put(soon, now_s=9.0).split(b"\r\n")[0].split()
    assert words == [b"put", b"10", b"2", b"120", b"256"]
    assert beanstalkd.put(soon, now_s=11.0).split()[2] == b"0"
    assert beanstalkd.put(item(1, 0), now_s=11.0).split()[1:3] == [b"0", b"0"]


def test_jobs_of_beanstalkd_are_read_however_they_are_cut(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """Replies of other kinds count and hold no job."""
    ours, servers = ends
    servers.sendall(b"DELETED\r\nRESERVED 7 4\r\na\r\nb\r\nTIMED_OUT\r\nRESERVED 8 1\r\n")
    replies = beanstalkd.Replies(ours)
    assert replies.take(3) == [(b"7", b"a\r\nb")]
    servers.sendall(b"c\r\n")
    assert replies.take(1) == [(b"8", b"c")]


def test_an_error_of_beanstalkd_is_not_taken_for_an_ack(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """It says what it was."""
    ours, servers = ends
    servers.sendall(b"OUT_OF_MEMORY\r\n")
    with pytest.raises(BenchError, match="OUT_OF_MEMORY"):
        beanstalkd.Replies(ours).take(1)


def test_a_request_to_redis_says_how_long_each_word_is() -> None:
    """As its protocol has it."""
    assert redis.request(b"PING") == b"*1\r\n$4\r\nPING\r\n"


def test_a_message_to_nats_has_its_id_and_its_time_in_its_header() -> None:
    """What is due at once has no schedule."""
    later = nats.message(item(7, 1_700_000_000_123), b"reply")
    assert later.startswith(b"HPUB at.7 reply ")
    assert b"Nats-Msg-Id: 7\r\n" in later
    assert b"Nats-Schedule: @at 2023-11-14T22:13:20.123Z\r\n" in later
    now = nats.message(item(7, 0), b"reply")
    assert now.startswith(b"HPUB out reply ")
    assert b"Schedule" not in now


def test_messages_of_nats_are_read_however_they_are_cut(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """Its pings are answered on the way."""
    ours, servers = ends
    messages = nats.Messages(ours)
    head = b"NATS/1.0\r\n\r\n"
    data = b"PING\r\nMSG s 1 r1 3\r\na\r\n\r\nHMSG s 1 r2 12 14\r\n" + head + b"bc\r\n"
    found = [one for cut in (data[:9], data[9:30], data[30:]) for one in messages.take(cut)]
    assert found == [(b"r1", b"a\r\n"), (b"r2", b"bc")]
    assert servers.recv(100) == b"PONG\r\n"
    with pytest.raises(BenchError, match="Stale"):
        messages.take(b"-ERR 'Stale'\r\n")


def test_a_peer_that_is_not_installed_is_left_out_and_it_is_said_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Everybody else is measured."""
    monkeypatch.setenv("PATH", "/nowhere")
    built, missing = suite.pieces(["drain"], ["beanstalkd"], 1.0)
    assert [case.name for case in built[0].cases] == ["ChronosDB"]
    assert missing == [
        "beanstalkd -f0: beanstalkd is not installed: apt-get install beanstalkd, or make bench-peers"
    ]


def test_every_work_compares_with_chronosdb(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever peers there are."""
    monkeypatch.setenv("PATH", "/nowhere")
    built, _ = suite.pieces([], ["beanstalkd"], 0.01)
    assert {piece.name.split()[0] for piece in built} == set(suite.WORKS)
    assert all(piece.baseline == piece.cases[0].name == "ChronosDB" for piece in built)
