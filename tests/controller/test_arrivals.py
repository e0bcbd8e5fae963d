"""While a cluster starts, whoever is about to be there is waited for a little; one that serves waits for nobody."""

from __future__ import annotations

from collections.abc import Mapping

import trio
from trio.testing import MockClock

from chronosdb.node.controller.arrivals import awaited, can_wait
from chronosdb.node.controller.fitness import judge
from chronosdb.node.controller.liveness import Liveness
from chronosdb.node.controller.messages import Heartbeat
from chronosdb.node.controller.seats import Seat, seat_of
from chronosdb.node.replication.messages import Fence, Fenced
from chronosdb.raft import BeginLife, SetNodeState
from chronosdb.raft.view import NodeState
from tests.controller.nodes import nodes
from tests.raft.test_state import Machine

_FENCE_S = 1.5
_NOBODY: Mapping[str, float] = {}


def _awaited(
    up: str, arrived_s: dict[str, float], now_s: float, silent: Mapping[str, float] = _NOBODY
) -> str:
    """Of a, b and c: who is waited for, when those came at these times and `up` can be reached.

    The silent ones were heard once, at those times.
    """
    machine, liveness = Machine(), Liveness(_FENCE_S, 0.0)
    for node in "abc":
        machine.do(BeginLife(node, f"{node}:9000", 1))
    for node, at_s in arrived_s.items():
        machine.do(SetNodeState(node, 1, NodeState.ALIVE.value))
        for beats in range(round((now_s - at_s) * 2) + 1):
            liveness.hear(node, Heartbeat(1, "a", None, 0, False, []), at_s + beats / 2)
    for node, at_s in silent.items():
        liveness.hear(node, Heartbeat(1, "a", None, 0, False, []), at_s)
    view = machine.state.view
    fitness = judge(view, liveness, (), now_s)
    return "".join(sorted(awaited(view, fitness, liveness, up.__contains__, now_s)))


def test_who_is_up_and_may_not_lead_yet_is_awaited() -> None:
    """It opens its copies; a dead one cannot be reached."""
    assert _awaited("abc", {"a": 10.0, "b": 12.0}, 13.0) == "c"
    assert _awaited("ab", {"a": 10.0, "b": 12.0}, 13.0) == ""
    assert _awaited("abc", {"a": 10.0, "b": 12.0, "c": 12.5}, 13.0) == ""


def test_who_fell_silent_is_not_awaited() -> None:
    """It was cut off, and what it led is to be led by others at once, though it can be reached again."""
    assert _awaited("abc", {"a": 10.0, "b": 12.0}, 13.0, silent={"c": 9.0}) == ""


def test_nobody_is_awaited_for_long() -> None:
    """Five seconds after whoever came last."""
    assert _awaited("abc", {"a": 10.0, "b": 12.0}, 17.0) == "c"
    assert _awaited("abc", {"a": 10.0, "b": 12.0}, 17.5) == ""


def test_a_cluster_that_serves_waits_for_nobody() -> None:
    """A node that was restarted, and what it led is to be led by others at once."""
    assert _awaited("abc", {"a": 10.0, "b": 50.0}, 51.0) == ""


def _seat(isr: tuple[str, ...], wanted: str = "") -> Seat:
    return Seat("t", 1, 0, 1, "", 1, ("a", "b", "c"), isr, wanted)


def test_a_seat_waits_for_the_one_that_should_have_it() -> None:
    """Nobody else is worth a wait, nor one that is not in sync."""
    everyone = ("a", "b", "c")
    assert can_wait(_seat(everyone), {"a"})
    assert not can_wait(_seat(everyone), {"b"})
    assert can_wait(_seat(everyone, wanted="b"), {"b"})
    assert not can_wait(_seat(("b", "c")), {"a"})


async def test_a_seat_that_is_being_filled_is_not_filled_twice(autojump_clock: MockClock) -> None:
    """What an election does to the old leader looks like a reason to hold one."""
    async with nodes(autojump_clock, "a", "b", "c") as them:
        topic = await them.topic()
        elections = (await them.chief()).controller.elections
        fitness = (await them.chief()).controller.fitness
        asked = 0

        async def here(_fence: Fence) -> Fenced:
            nonlocal asked
            asked += 1
            await trio.sleep(0.1)
            return Fenced([])

        elections.fencing.here = here
        seat = seat_of(topic, 0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(elections.hold, [seat], fitness)
            await trio.testing.wait_all_tasks_blocked()
            assert elections.is_under_way(seat)
            nursery.start_soon(elections.hold, [seat], fitness)
        assert asked == 1
        assert not elections.is_under_way(seat)
        assert them.now().epochs[0] == 2
