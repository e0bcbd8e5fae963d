"""A node's heartbeats by themselves, with a controller that answers as the test says."""

from __future__ import annotations

from typing import Any

import trio
from trio.testing import MockClock

from chronosdb.node.clock import Clock
from chronosdb.node.controller.heart import Heart
from chronosdb.node.controller.lease import Always
from chronosdb.node.controller.messages import REFUSED_MAX, Granted, Heartbeat
from chronosdb.node.controller.options import ControllerOptions
from chronosdb.node.environment import Environment
from chronosdb.node.peers.calls import CallFailed
from chronosdb.node.replication.messages import decode, encode
from chronosdb.raft import BumpEpochs, ClusterView, CreateTopic, RegisterNode
from chronosdb.testing.clock import WallClock
from tests.raft.test_state import Machine

OPTIONS = ControllerOptions()


class Metadata:
    """That of a node "a" which follows "b"."""

    leader = "b"
    is_leader = False

    def __init__(self, machine: Machine) -> None:
        self.changed = trio.Event()
        self.machine = machine

    @property
    def view(self) -> ClusterView:
        return self.machine.state.view


class Calls:
    """To a controller."""

    def __init__(self) -> None:
        self.beats: list[Heartbeat] = []
        self.delay_s = 0.0
        #: How far its clock is ahead of ours.
        self.ahead_ms = 0
        #: After so many answers there are none.
        self.answers_left = 1_000

    async def ask(self, peer: str, method: str, body: bytes) -> bytes:
        assert (peer, method) == ("b", "heartbeat")
        self.beats.append(decode(body, Heartbeat))
        await trio.sleep(self.delay_s)
        now_ms = round(1000 * trio.current_time()) + self.ahead_ms
        await trio.sleep(self.delay_s)
        self.answers_left -= 1
        if self.answers_left < 0:
            raise CallFailed("cut off")
        return encode(Granted(OPTIONS.lease_ms, now_ms, ""))


def _heart(calls: Calls, machine: Machine | None = None) -> Heart:
    metadata: Any = Metadata(machine or Machine())
    asked: Any = calls
    unused: Any = None
    env = Environment(clock=Clock(WallClock(0)))
    return Heart(env, "a", metadata=metadata, calls=asked, controller=unused, options=OPTIONS)


async def test_a_lease_counts_from_when_the_question_was_sent(
    autojump_clock: MockClock,  # noqa: ARG001 - lets the time pass
    nursery: trio.Nursery,
) -> None:
    """However long the answer took: its giver counts from then, too."""
    calls = Calls()
    calls.delay_s, calls.answers_left = 0.2, 1
    heart = _heart(calls)
    nursery.start_soon(heart.run, 1)
    began_s = trio.current_time()
    held = []
    for after_s in (0.39, 0.41, OPTIONS.lease_s - 0.01, OPTIONS.lease_s + 0.01):
        await trio.sleep_until(began_s + after_s)
        held.append(heart.held)
    assert held == [False, True, True, False]


async def test_a_reading_takes_the_round_trip_into_account(
    autojump_clock: MockClock,  # noqa: ARG001 - lets the time pass
    nursery: trio.Nursery,
) -> None:
    """The other clock was read half way, give or take that half."""
    calls = Calls()
    calls.delay_s, calls.ahead_ms = 0.1, 700
    nursery.start_soon(_heart(calls).run, 1)
    await trio.sleep(1)
    reading = calls.beats[-1].reading
    assert reading is not None
    assert abs(reading.ahead_ms - 700) <= 1
    assert 100 <= reading.error_ms <= 102


async def test_a_slow_controller_is_not_heaped_upon(
    autojump_clock: MockClock,  # noqa: ARG001 - lets the time pass
    nursery: trio.Nursery,
) -> None:
    """Two heartbeats at most wait for an answer, and no longer than a lease."""
    calls = Calls()
    calls.delay_s = 100
    nursery.start_soon(_heart(calls).run, 1)
    await trio.sleep(0.9)
    assert len(calls.beats) == 2
    await trio.sleep(0.2)
    assert len(calls.beats) == 4


async def test_what_was_refused_is_said_in_portions(
    autojump_clock: MockClock,  # noqa: ARG001 - lets the time pass
    nursery: trio.Nursery,
) -> None:
    """And no more once it is over."""
    calls, machine = Calls(), Machine()
    machine.do(RegisterNode("a", "h:1", 1))
    machine.do(CreateTopic("t", REFUSED_MAX + 9))
    heart = _heart(calls, machine)
    for partition in range(REFUSED_MAX + 9):
        heart.refused(1, partition, 1)
    nursery.start_soon(heart.run, 1)
    await trio.sleep(0.5)
    assert len(calls.beats[-1].refused) == REFUSED_MAX
    machine.do(BumpEpochs("a"))
    heart.refused(1, 5, 2)
    await trio.sleep(0.5)
    assert calls.beats[-1].refused == [(1, 5, 2)]


def test_a_node_alone_always_may_lead() -> None:
    """There is nobody who could lead instead."""
    lease = Always()
    lease.watch(lambda _: None)
    lease.refused(1, 0, 1)
    assert lease.held
