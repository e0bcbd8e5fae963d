"""What the HTTP port of a supervisor answers, with workers that do and do not."""

from __future__ import annotations

import pytest
import trio
from trio.testing import memory_stream_pair

from chronosdb.node.environment import Listeners
from chronosdb.node.workers.pages import WorkerPages, fetch
from chronosdb.node.workers.serving import Serving
from chronosdb.node.workers.supervised import Supervised

OK = b"HTTP/1.1 200 \r\ncontent-type: text/plain\r\n\r\n"
LEASELESS = b"HTTP/1.1 503 \r\n\r\nNO LEASE"


class Answers:
    """A network on which each address has one answer to everything. Implements `Network`."""

    def __init__(self, **by_host: bytes) -> None:
        self.by_host = by_host

    async def listen(self, host: str, port: int) -> Listeners:
        raise AssertionError((host, port))

    async def open_stream(self, host: str, port: int) -> trio.abc.HalfCloseableStream:
        assert port == 80
        if host not in self.by_host:
            raise OSError("nobody is there")
        here, there = memory_stream_pair()
        await there.send_all(self.by_host[host])
        await there.send_eof()
        return here


def worker(name: str, *, serves: bool = True) -> Supervised:
    """A worker whose pages are at a host of its name."""
    one = Supervised(name, lambda _before: (), 0.0)
    one.serving = Serving(f"{name}:1", f"{name}:80") if serves else None
    return one


def pages(network: Answers, *workers: Supervised) -> WorkerPages:
    """The pages of these workers."""
    return WorkerPages(workers, network)


async def test_ready_needs_all_and_says_who_is_not() -> None:
    """One that is down, one without a lease, one that does not answer."""
    network = Answers(a=OK + b"READY", b=LEASELESS)
    assert (await pages(network, worker("a")).answer("/ready"))[::2] == (200, b"READY")
    them = [worker("a"), worker("b"), worker("c"), worker("d", serves=False)]
    status, _, body = await pages(network, *them).answer("/ready")
    assert (status, body) == (503, b"b: NO LEASE\nc: NO ANSWER\nd: DOWN\n")


async def test_metrics_are_of_those_that_answer() -> None:
    """Who does not is seen by that."""
    network = Answers(a=OK + b"# HELP x X.\n# TYPE x gauge\nx 1.0\n")
    them = pages(network, worker("a"), worker("b", serves=False))
    status, _, body = await them.answer("/metrics")
    assert status == 200
    lines = body.decode().splitlines()
    assert 'x{worker="a"} 1.0' in lines
    assert 'chronosdb_worker_up{worker="a"} 1.0' in lines
    assert 'chronosdb_worker_up{worker="b"} 0.0' in lines


async def test_health_is_the_supervisors_and_other_pages_are_not_there() -> None:
    """Nobody is asked."""
    them = pages(Answers(), worker("a"))
    assert (await them.answer("/health"))[::2] == (200, b"OK")
    assert (await them.answer("/"))[0] == 404


@pytest.mark.parametrize("answer", [b"", b"HTTP", b"HTTP/1.1 200", b"HTTP/1.1 two\r\n\r\n"])
async def test_what_is_no_http_is_refused(answer: bytes) -> None:
    """A page is whole or not there."""
    with pytest.raises(ValueError, match=r"no HTTP|invalid literal"):
        await fetch(Answers(a=answer), "a:80", "/")
