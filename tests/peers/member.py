"""One node's metadata as a process of its own, for tests that kill it.

    python -m tests.peers.member DIRECTORY NAME PORT NAME=PORT ...

It creates topics for ever, each under a name of its own, and prints "acked NAME" when a topic is
there for good; "ready" when it knows what is committed, and "leads" when it begins to lead. What
it is told on standard input: "pause", "go on", "view" (prints all topics in one line), "idle CPU".
"""

from __future__ import annotations

import os
import random
import resource
import sys
import time

import trio

from chronosdb.node.environment import Environment, TcpNetwork
from chronosdb.node.metadata import Cluster, Metadata
from chronosdb.node.peers.calls import Calls
from chronosdb.node.peers.charter import read_charter, write_charter
from chronosdb.node.peers.handshake import Self
from chronosdb.node.peers.peers import Peers
from chronosdb.node.peers.secret import check_secret
from chronosdb.raft import CreateTopic, Noop
from chronosdb.wire.errors import ChronosError

SECRET = b"known to all processes of the test"
HOST = "127.0.0.1"


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class Member:
    """The process."""

    def __init__(self, metadata: Metadata, name: str) -> None:
        self._metadata = metadata
        self._name = name
        self._may_submit = trio.Event()
        self._made = 0

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self._metadata.run)
            say("ready", self._metadata.view.version)
            nursery.start_soon(self._obey)
            nursery.start_soon(self._tell_leadership)
            await self._submit()

    async def _submit(self) -> None:
        while True:
            await self._may_submit.wait()
            self._made += 1
            topic = f"{self._name}.{os.getpid()}.{self._made}"
            try:
                await self._metadata.submit(CreateTopic(topic, 1))
            except ChronosError as error:
                say("unsure", topic, error)
            else:
                say("acked", topic)

    async def _tell_leadership(self) -> None:
        led = False
        while True:
            if self._metadata.is_leader is not led:
                led = not led
                say("leads" if led else "follows")
            await trio.sleep(0.05)

    async def _obey(self) -> None:
        async for line in trio.wrap_file(sys.stdin):
            match line.strip():
                case "go on":
                    self._may_submit.set()
                case "pause":
                    self._may_submit = trio.Event()
                case "view":
                    view = await self._metadata.read()
                    say("topics", *sorted(view.topics))
                case "measure":
                    await self._measure()

    async def _measure(self) -> None:
        """Sequential commits, and what an idle node costs."""
        took_ms = []
        for _ in range(500):
            began = time.perf_counter()
            await self._metadata.submit(Noop())
            took_ms.append(1000 * (time.perf_counter() - began))
        took_ms.sort()
        before = resource.getrusage(resource.RUSAGE_SELF)
        await trio.sleep(10)
        after = resource.getrusage(resource.RUSAGE_SELF)
        used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        p50, p99 = took_ms[250], took_ms[495]
        say(f"measured p50 {p50:.2f} ms, p99 {p99:.2f} ms, idle {10 * used_s:.2f} % of a core")


async def main(directory: str, name: str, port: int, others: dict[str, str]) -> None:
    env = Environment()
    path = f"{directory}/charter"
    if not env.disk.exists(path):
        write_charter(
            env.disk,
            path,
            env.random,
            cluster_id="processes",
            node_id=name,
            address=f"{HOST}:{port}",
            peers=others,
            joins=False,
        )
    charter = read_charter(env.disk, path)
    assert charter is not None
    check_secret(HOST, SECRET)
    network = TcpNetwork()
    peers = Peers(Self(charter.cluster_id, name, charter.birth, SECRET), network, env.random)
    listeners = await network.listen(HOST, port)
    cluster = Cluster(charter, peers, Calls(peers, env.random), listeners)
    await Member(Metadata(env, directory, name, cluster), name).run()


if __name__ == "__main__":
    random.seed()
    _, where, me, mine, *rest = sys.argv
    trio.run(main, where, me, int(mine), dict(one.split("=", 1) for one in rest))
