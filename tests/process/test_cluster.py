"""Short versions of the cluster's campaigns: `tests.process.cluster_load`, `_failover`, `_group` and `_scale`."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from chronosdb.node.peers.frames import framed
from chronosdb.node.peers.handshake import Dialling, Self
from chronosdb.node.peers.roster import Roster
from tests.process.cluster_failover import failover
from tests.process.cluster_group import Run
from tests.process.cluster_load import Plan, cluster_load
from tests.process.cluster_network import Cables
from tests.process.cluster_scale import scale
from tests.process.harness import free_port

#: What a run of any length must have judged.
JUDGED = {"I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I10", "I11", "I13", "I14", "I16"}


@pytest.mark.slow
def test_a_fault_breaks_no_promise(tmp_path: Path) -> None:
    """A kill under load: zero violations, and all copies of a partition are level and agree."""
    plan = Plan(4, seed=3, rate=300, every_s=4, replacements=0, healed_ms=60_000)
    result, verdict = cluster_load(tmp_path, plan, lambda _world, _at_s: None)
    assert verdict.violations == []
    assert result.kept
    assert {name for name, what in result.judged.items() if sum(what.values())} >= JUDGED


@pytest.mark.slow
def test_a_leader_that_is_killed_is_replaced(tmp_path: Path) -> None:
    """And what it had acked is there."""
    run = failover(tmp_path, kills=1, seed=1)
    assert len(run.outages_s) == 1
    assert len(run.acked) > 10


@pytest.mark.slow
def test_many_partitions_start_together(tmp_path: Path) -> None:
    """Each serves, and a leader can be moved."""
    figures = trio.run(scale, tmp_path, 8, 0.5, 1, 4)
    assert figures.idle_percent.keys() == {"n1", "n2", "n3"}
    assert len(figures.moves_s) == 1


@pytest.mark.slow
def test_a_changed_group_settles(tmp_path: Path) -> None:
    """Members come and go, a node is killed and comes back: each time every partition has one member that gets its events."""
    run = Run(clients=3, members=2, rounds=1)
    trio.run(run.run, tmp_path, 8)
    assert [len(took_s) for took_s in run.took_s.values()] == [1] * 5


async def test_a_cut_cable_lets_nothing_through_until_it_is_mended() -> None:
    """Nor is anything lost: it waits. The other direction works meanwhile."""
    cables, port, listen = Cables(), free_port(), free_port()
    hello = _hello("n1")

    async def echo(stream: trio.SocketStream) -> None:
        while data := await stream.receive_some():
            await stream.send_all(data)

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_tcp, echo, port)
        await nursery.start(cables.forward, "n2", listen, port)
        async with await trio.open_tcp_stream("127.0.0.1", listen) as stream:
            await stream.send_all(hello)
            assert await stream.receive_some() == hello
            cables.cut("n2", "n1")
            await stream.send_all(b"heard, not answered")
            with trio.move_on_after(0.05) as waiting:
                await stream.receive_some()
            assert waiting.cancelled_caught
            cables.mend()
            assert await stream.receive_some() == b"heard, not answered"
        nursery.cancel_scope.cancel()


def _hello(sender: str) -> bytes:
    me = Self("c1", sender, "birth", b"")
    return framed(Dialling(me, "n2", Roster({}), bytes(32)).hello)
