"""A clock that seems wrong for a moment costs nobody anything: perhaps it was the controller's own step."""

from __future__ import annotations

from typing import Any

import trio
from trio.testing import MockClock

from chronosdb.node.clock import Clock
from chronosdb.node.controller.controller import Controller
from chronosdb.node.controller.messages import Heartbeat, Reading
from chronosdb.node.controller.options import ControllerOptions
from chronosdb.node.environment import Environment
from chronosdb.raft import BeginLife
from chronosdb.testing.clock import WallClock
from tests.raft.test_state import Machine

OPTIONS = ControllerOptions()


class Metadata:
    """Led by this node alone."""

    is_leader = True

    def __init__(self) -> None:
        machine = Machine()
        for node in "abc":
            machine.do(BeginLife(node, "h:1", 1))
        self.view = machine.state.view


class Calls:
    def serve(self, name: str, method: object) -> None:
        """It is not asked."""


def _controller() -> Controller:
    metadata: Any = Metadata()
    calls: Any = Calls()
    env = Environment(clock=Clock(WallClock(0)))
    return Controller(env, "a", metadata, calls, OPTIONS)


def _hear(controller: Controller, **ahead_ms: int) -> dict[str, bool]:
    """Who is taken to be wrong after these heartbeats."""
    for node, ms in ahead_ms.items():
        controller.hear(node, Heartbeat(1, "a", Reading(-ms, 1), 0, False, []))
    controller._judge_clocks()
    return {node: health.far_off for node, health in controller.heard().items()}


async def test_one_that_seems_wrong_is_only_suspected_at_first(
    autojump_clock: MockClock,  # noqa: ARG001 - lets the time pass
) -> None:
    """Until all have read the controller's clock again; then the odd one out is known."""
    controller = _controller()
    nobody = dict.fromkeys("abc", False)
    assert _hear(controller, a=0, b=0, c=0) == nobody
    # The controller's clock was set back by three seconds; "b" is the first to notice.
    assert _hear(controller, b=3_000) == nobody
    await trio.sleep(0.2)
    assert _hear(controller, c=3_000) == nobody
    await trio.sleep(OPTIONS.all_read_s - 0.01)
    assert _hear(controller, a=0, b=3_000, c=3_000) == nobody
    await trio.sleep(0.02)
    assert _hear(controller, a=0, b=3_000, c=3_000) == {"a": True, "b": False, "c": False}
    assert _hear(controller, a=0, b=100, c=100) == nobody
