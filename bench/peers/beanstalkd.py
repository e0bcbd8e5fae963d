"""beanstalkd with -f0: a work queue with delayed jobs; an fsync for every put and every delete."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Generator, Iterable
from math import ceil
from pathlib import Path
from typing import Final

from bench.errors import BenchError
from bench.peers.item import Item
from bench.peers.peer import Lane, Peer, SocketLane, lacks
from bench.peers.wire import Lines, dial, pipeline, receive

#: Jobs reserved, and deleted, in one round trip.
TAKEN: Final = 100
#: How long a job may be in the consumer's hands.
LEASE_S: Final = 120

_DELAYED: Final = re.compile(rb"current-jobs-delayed: (\d+)\r?\n")


class Beanstalkd(Peer):
    """Delays are whole seconds: they are rounded up here, so that nothing comes early."""

    name = "beanstalkd -f0"
    slow = True

    @classmethod
    def missing(cls) -> str | None:
        """What is not installed."""
        return lacks("beanstalkd", "beanstalkd")

    def command(self, home: Path, *, durable: bool) -> list[str]:
        """-F is: never fsync."""
        sync = "-f0" if durable else "-F"
        return ["beanstalkd", "-b", str(home), sync, "-l", "127.0.0.1", "-p", str(self.port)]

    def ping(self) -> None:
        """It has no ping; asking for statistics will do."""
        self.pending()

    def setup(self) -> None:
        """Its tube `default` is there."""

    def pending(self) -> int:
        """Jobs that are delayed."""
        with dial(self.port) as wire:
            wire.sendall(b"stats-tube default\r\n")
            reply = b""
            while not (found := _DELAYED.search(reply)):
                reply += receive(wire)
            return int(found[1])

    def publish(self, batches: Iterable[list[Item]], batch: int, in_flight: int) -> None:
        """A batch is so many puts in one write."""
        requests = ((b"".join(map(_put_now, items)), len(items)) for items in batches)
        with dial(self.port) as wire:
            pipeline(wire, requests, Lines(b"INSERTED"), batch * in_flight)

    def lane(self) -> Lane:
        """A put, and its reply."""
        return SocketLane(dial(self.port), _put_now, Lines(b"INSERTED"))

    def consume(self) -> Generator[list[bytes], None, None]:
        """Deletes of the last batch and reserves for the next travel together."""
        with dial(self.port) as wire:
            replies = Replies(wire)
            deletes: list[bytes] = []
            waiting = True
            while True:
                # Waiting for one job is enough: whoever waits would get the next ones singly.
                asked = 1 if waiting else TAKEN
                wire.sendall(b"".join(deletes) + (b"reserve-with-timeout %d\r\n" % waiting) * asked)
                jobs = replies.take(len(deletes) + asked)
                waiting = len(jobs) < asked
                yield [body for _, body in jobs]
                deletes = [b"delete %b\r\n" % job for job, _ in jobs]


def put(one: Item, now_s: float) -> bytes:
    """The request to store an event.

    Its priority is the due time: what is ready is served by priority, not by due time.
    """
    delay_s = max(0, ceil(one.due_ms / 1000 - now_s)) if one.due_ms else 0
    head = (one.due_ms // 1000, delay_s, LEASE_S, len(one.payload))
    return b"put %d %d %d %d\r\n%b\r\n" % (*head, one.payload)


def _put_now(one: Item) -> bytes:
    return put(one, time.time())


class Replies:
    """Takes replies off a connection."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        self._data = b""

    def take(self, count: int) -> list[tuple[bytes, bytes]]:
        """The (id, body) of each job among the next `count` replies.

        Raises:
            BenchError: one of them says that something is wrong.
        """
        jobs: list[tuple[bytes, bytes]] = []
        at = 0
        for _ in range(count):
            at, (word, *rest) = self._line(at)
            if word == b"RESERVED":
                at, body = self._body(at, int(rest[1]))
                jobs.append((rest[0], body))
            elif word not in {b"DELETED", b"TIMED_OUT"}:
                raise BenchError(f"beanstalkd said: {word.decode(errors='replace')}")
        self._data = self._data[at:]
        return jobs

    def _line(self, at: int) -> tuple[int, list[bytes]]:
        """The words of the line that begins at `at`, and where the next begins."""
        while (end := self._data.find(b"\r\n", at)) < 0:
            self._data += receive(self._wire)
        return end + 2, self._data[at:end].split()

    def _body(self, at: int, size: int) -> tuple[int, bytes]:
        while len(self._data) < at + size + 2:
            self._data += receive(self._wire)
        return at + size + 2, self._data[at : at + size]
