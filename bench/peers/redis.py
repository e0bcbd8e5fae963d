"""Redis with an append-only file that is synced before every reply.

The delay queue is what is usually built on it: a sorted set by due time, from which a Lua script moves
what is due to a stream with a consumer group.
"""

from __future__ import annotations

import importlib.util
import socket
import sys
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from bench.errors import BenchError
from bench.peers.item import Item
from bench.peers.peer import Lane, Peer, SocketLane, lacks
from bench.peers.wire import dial, pipeline, receive

#: Events that one XREADGROUP takes.
TAKEN: Final = 1000
WAIT_MS: Final = 500

#: Appends what is due at once to the stream, many in one request.
_ADD: Final = b"""
for i = 1, #ARGV do redis.call('XADD', KEYS[1], '*', 'p', ARGV[i]) end
return #ARGV
"""


class Redis(Peer):
    """Who moves what is due is `redis_mover.py`."""

    name = "Redis"

    @classmethod
    def missing(cls) -> str | None:
        """What is not installed."""
        if importlib.util.find_spec("hiredis") is None:
            return "hiredis is not installed: pip install hiredis, or make bench-peers"
        return lacks("redis-server", "redis-server")

    def command(self, home: Path, *, durable: bool) -> list[str]:
        """It is its own process that syncs, once a turn of its event loop."""
        settings = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(home),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always" if durable else "no",
        }
        return ["redis-server", *(word for key in settings for word in (f"--{key}", settings[key]))]

    def helper(self) -> list[str]:
        """The mover."""
        return [sys.executable, "-m", "bench.peers.redis_mover", str(self.port)]

    def ping(self) -> None:
        """While it loads its file, this is an error."""
        with Dialogue(self.port) as redis:
            redis.ask(b"PING")

    def setup(self) -> None:
        """The stream, and its group."""
        with Dialogue(self.port) as redis:
            redis.ask(b"XGROUP", b"CREATE", b"out", b"bench", b"0", b"MKSTREAM")

    def pending(self) -> int:
        """What the mover has not moved."""
        with Dialogue(self.port) as redis:
            return int(redis.ask(b"ZCARD", b"due"))

    def publish(self, batches: Iterable[list[Item]], batch: int, in_flight: int) -> None:
        """A batch is one ZADD; of what is due at once, one script."""
        del batch
        with dial(self.port) as wire:
            pipeline(wire, ((_batch(items), 1) for items in batches), _Counter(), in_flight)

    def lane(self) -> Lane:
        """A ZADD, and its reply."""
        return SocketLane(dial(self.port), lambda one: _batch([one]), _Counter())

    def consume(self) -> Generator[list[bytes], None, None]:
        """Acks of the last batch and the request for the next travel together."""
        words = (b"GROUP", b"bench", b"c", b"COUNT", b"%d" % TAKEN, b"BLOCK", b"%d" % WAIT_MS)
        read = request(b"XREADGROUP", *words, b"STREAMS", b"out", b">")
        with Dialogue(self.port) as redis:
            acks = b""
            while True:
                redis.send(acks + read)
                if acks:
                    redis.answer()
                streams = redis.answer()
                entries = streams[0][1] if streams else []
                yield [fields[1] for _, fields in entries]
                ids = [entry for entry, _ in entries]
                acks = request(b"XACK", b"out", b"bench", *ids) if ids else b""


def request(*words: bytes) -> bytes:
    """One command, as the protocol writes it."""
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


def _batch(items: list[Item]) -> bytes:
    """Events that all have a due time, or all have none."""
    if not items[0].due_ms:
        return request(b"EVAL", _ADD, b"1", b"out", *(one.payload for one in items))
    pairs = (word for one in items for word in (b"%d" % one.due_ms, one.payload))
    return request(b"ZADD", b"due", *pairs)


def _reader() -> Any:
    import hiredis  # noqa: PLC0415 - an optional library: only who measures Redis needs it

    return hiredis.Reader()


@dataclass
class _Counter:
    """Counts replies of any kind but errors."""

    reader: Any = field(default_factory=_reader)

    def __call__(self, data: bytes) -> int:
        """How many are complete now.

        Raises:
            BenchError: one is an error.
        """
        self.reader.feed(data)
        count = 0
        while (reply := self.reader.gets()) is not False:
            _check(reply)
            count += 1
        return count


class Dialogue:
    """Requests and their replies, on a connection that the block ends."""

    def __init__(self, port: int) -> None:
        self._wire: socket.socket = dial(port)
        self._reader = _reader()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.close()

    def send(self, data: bytes) -> None:
        """Requests; each has an `answer`."""
        self._wire.sendall(data)

    def answer(self) -> Any:
        """The next reply.

        Raises:
            BenchError: it is an error.
        """
        while (reply := self._reader.gets()) is False:
            self._reader.feed(receive(self._wire))
        return _check(reply)

    def ask(self, *words: bytes) -> Any:
        """A request, and its reply."""
        self.send(request(*words))
        return self.answer()


def _check(reply: Any) -> Any:
    if isinstance(reply, Exception):
        raise BenchError(f"redis said: {reply}")
    return reply
