"""Ten thousand connections that say nothing: what each costs a node, and whether others notice.

    python -m tests.process.idle_connections --connections 10000

Rounds of publishing without them and with them, in turn: the machine's own mood changes over minutes.
Memory is the node's resident set; what the kernel keeps for a socket is not in it.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

import click
import trio

from chronosdb.client import Client
from chronosdb.client.addresses import parse_addresses
from chronosdb.node.demo.tally import percentile
from chronosdb.wire import Role, Session
from chronosdb.wire import messages as m
from tests.process.harness import TOPIC, NodeProcess, client, now_ms

#: Descriptors that node and measurement need for themselves.
_SPARE_FILES = 200
_IN_A_BURST = 500
_YEAR_MS = 366 * 86_400_000
#: Between two publishes of the one who must not notice.
_PAUSE_S = 0.002
#: A node that is asked nothing uses less than this share of a processor.
_QUIET_SHARE = 0.05
_QUIET_S = 0.5
_QUIET_S_MAX = 60.0
#: A slow sender's byte comes so often.
_DRIBBLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Round:
    """Publishing, µs, without the silent and with them; and what one of them costs the node, in bytes."""

    p50_without: int
    p99_without: int
    p50_with: int
    p99_with: int
    #: Processor time of the node for one publish, µs: what a busy machine cannot blur.
    cpu_without: int
    cpu_with: int
    #: One publish while all of them leave at the same moment.
    while_leaving: int
    bytes_each: int

    @property
    def p99_moved(self) -> float:
        """By which share the p99 is higher with them; below 0: it is lower."""
        return self.p99_with / self.p99_without - 1


@dataclass(frozen=True, slots=True)
class Result:
    """All rounds."""

    connections: int
    greeted: bool
    slow: int
    rounds: list[Round]

    @property
    def bytes_each(self) -> int:
        """Of the first round: later ones reuse what the node has freed."""
        return self.rounds[0].bytes_each

    @property
    def p99_moved(self) -> float:
        """The median of the rounds."""
        return median(one.p99_moved for one in self.rounds)


def make_room(files: int) -> None:
    """Lets this process, and the node it starts, open so many files; raises click.ClickException."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < files:
        raise click.ClickException(
            f"{files} open files are needed and {hard} allowed (ulimit -Hn): fewer --connections"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, files), hard))


def resident_bytes(pid: int) -> int:
    """The resident set of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@asynccontextmanager
async def silent(
    address: str, count: int, *, greeted: bool, slow: int
) -> AsyncIterator[list[socket.socket]]:
    """So many connections; the first `slow` of them send a byte of a greeting now and then."""
    (place,) = parse_addresses(address)
    sockets: list[socket.socket] = []
    try:
        while len(sockets) < count:
            for _ in range(min(_IN_A_BURST, count - len(sockets))):
                sockets.append(socket.create_connection(place, timeout=30))
                if greeted:
                    sockets[-1].sendall(Session(Role.CLIENT).send(m.Hello(1, "silent")))
            await trio.sleep(0.1)  # let the node accept them
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_dribble, sockets[:slow])
            yield sockets
            nursery.cancel_scope.cancel()
    finally:
        for one in sockets:
            one.close()


async def _dribble(slow: Sequence[socket.socket]) -> None:
    """A greeting of 4 KB, byte by byte."""
    for byte in (4096).to_bytes(4, "big") + bytes(4096):
        for one in slow:
            one.sendall(bytes([byte]))
        await trio.sleep(_DRIBBLE_S)


def cpu_us(pid: int) -> int:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1_000_000 // os.sysconf("SC_CLK_TCK")


async def quiet(node: NodeProcess) -> None:
    """Wait until the node has let all of them in, or go."""
    with trio.fail_after(_QUIET_S_MAX):
        while True:
            before_us = cpu_us(node.pid)
            await trio.sleep(_QUIET_S)
            if cpu_us(node.pid) - before_us < _QUIET_SHARE * _QUIET_S * 1e6:
                return


async def cost_of(node: NodeProcess, db: Client, seconds: float) -> tuple[list[int], int]:
    """As `publish_for`, and the node's processor time for one of them, in µs."""
    before_us = cpu_us(node.pid)
    took_us = await publish_for(db, seconds)
    return took_us, (cpu_us(node.pid) - before_us) // len(took_us)


async def publish_for(db: Client, seconds: float) -> list[int]:
    """Publishes one event after the other; how long each took, in µs."""
    took_us: list[int] = []
    due_ms = now_ms() + _YEAR_MS
    until_s = trio.current_time() + seconds
    while (began_s := trio.current_time()) < until_s:
        await db.publish(TOPIC, b"x" * 256, at=due_ms)
        took_us.append(int((trio.current_time() - began_s) * 1e6))
        await trio.sleep(_PAUSE_S)
    return took_us


async def one_round(
    node: NodeProcess, db: Client, count: int, seconds: float, *, greeted: bool, slow: int
) -> Round:
    """Without, then with."""
    without, cpu_without = await cost_of(node, db, seconds)
    before = resident_bytes(node.pid)
    async with silent(node.address, count, greeted=greeted, slow=slow) as sockets:
        await quiet(node)
        bytes_each = (resident_bytes(node.pid) - before) // count
        with_them, cpu_with = await cost_of(node, db, seconds)
        assert all(_still_open(one) for one in sockets[:: max(1, count // 100)])
    began_s = trio.current_time()
    await db.publish(TOPIC, b"x", at=now_ms() + _YEAR_MS)
    leaving_us = int((trio.current_time() - began_s) * 1e6)
    await quiet(node)
    return Round(
        percentile(without, 50),
        percentile(without, 99),
        percentile(with_them, 50),
        percentile(with_them, 99),
        cpu_without,
        cpu_with,
        leaving_us,
        bytes_each,
    )


def _still_open(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        return bool(one.recv(4096))  # a Welcome, if it was greeted; b"" is the end
    except BlockingIOError:
        return True


async def measure(
    directory: Path, count: int, seconds: float, rounds: int, *, greeted: bool, slow: int
) -> Result:
    """The whole measurement, on a node of its own."""
    options = (
        *("--http", "off", "--max-connections", str(count + 10)),
        # Nobody is shown the door while it is being measured what they cost.
        *("--handshake-timeout", "1h", "--idle-timeout", "1d"),
    )
    node = NodeProcess(directory / "data", directory / "node.log", options)
    async with node:
        await node.start()
        async with client(node) as db:
            await publish_for(db, 1)
            found = [
                await one_round(node, db, count, seconds, greeted=greeted, slow=slow)
                for _ in range(rounds)
            ]
    return Result(count, greeted, slow, found)


@click.command()
@click.option("--connections", type=click.IntRange(min=1), default=10_000, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=0.1), default=5.0, show_default=True,
              help="Of publishing, without and with, in each round.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--greeted", is_flag=True, help="They shake hands before they fall silent.")
@click.option("--slow", type=click.IntRange(min=0), default=100, show_default=True,
              help="So many of them send a byte a second.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="Write the result here, as JSON.")
def main(
    connections: int, seconds: float, rounds: int, slow: int, *, greeted: bool, out: Path | None
) -> None:
    """Measure what silent connections cost; exit with 1 if it is more than is promised."""
    make_room(connections + _SPARE_FILES)
    slow = 0 if greeted else min(slow, connections)
    with tempfile.TemporaryDirectory(prefix="chronos-idle-") as directory:
        work = partial(measure, greeted=greeted, slow=slow)
        result = trio.run(work, Path(directory), connections, seconds, rounds)
    if out:
        out.write_text(json.dumps(asdict(result), indent=2) + "\n")
    for one in result.rounds:
        click.echo(
            f"publish p50 {one.p50_without} → {one.p50_with} µs, p99 {one.p99_without} →"
            f" {one.p99_with} µs ({one.p99_moved:+.0%}), the node's processor time {one.cpu_without} →"
            f" {one.cpu_with} µs; {one.while_leaving / 1000:,.0f} ms while they leave at once;"
            f" {one.bytes_each:,} bytes each"
        )
    kept = result.bytes_each <= 64 * 1024 and result.p99_moved < 0.2
    click.echo(
        f"{connections:,} silent connections{' that were greeted' * greeted}, {slow} of them slow:"
        f" {result.bytes_each / 1024:.1f} KiB each (at most 64), p99 of a publish"
        f" {result.p99_moved:+.0%} (less than +20 %): {'kept' if kept else 'NOT KEPT'}"
    )
    sys.exit(not kept)


if __name__ == "__main__":
    main()
