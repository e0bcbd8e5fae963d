"""The node's side of the metadata replica: ticks it, submits commands, waits for their results."""

from __future__ import annotations

import logging
from typing import Final

import trio

from chronosdb.node import faults
from chronosdb.node.clock import Signal
from chronosdb.node.environment import Environment
from chronosdb.node.reply import Reply
from chronosdb.raft import (
    ClusterView,
    Command,
    Outcome,
    RefusedError,
    Replica,
    Request,
    Result,
)
from chronosdb.wire.errors import Overloaded, Timeout

logger = logging.getLogger(__name__)

#: A cluster of one has no heartbeats: ticks serve submissions, and an occasional compaction.
_TICK_S: Final = 60.0
_SUBMIT_TIMEOUT_S: Final = 10.0
#: Free disk space below which clients may change nothing: the replica's own writes must not fail.
_SPARE_BYTES: Final = 1024 * 1024


class Metadata:
    """Topics, groups and nodes, replicated; this node's view of them."""

    def __init__(self, env: Environment, directory: str, node_id: str) -> None:
        self._env = env
        self._directory = directory
        self._replica = Replica(
            env.disk,
            directory,
            node_id=node_id,
            clock=trio.current_time,
            rng=env.random,
        )
        # A new name for each life: sequence numbers start again, and must not look like retries.
        self._client_id = f"{node_id}/{env.random.getrandbits(64):016x}"
        self._seq = 0
        self._wake = Signal()

    @property
    def view(self) -> ClusterView:
        """What is committed, as far as this node knows; immutable."""
        return self._replica.view

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Drive the replica until cancelled; started once this node knows what is committed.

        Raises:
            MetadataFailedError: the disk failed; nothing after that was answered.
        """
        started = False
        try:
            while True:
                self._replica.tick()
                if self._replica.ready and not started:
                    started = True
                    task_status.started()
                if self._replica.wants_tick_soon:
                    await trio.lowlevel.checkpoint()
                else:
                    with trio.move_on_after(_TICK_S):
                        await self._wake.wait()
        finally:
            self._replica.close()

    async def change(self, command: Command) -> Result:
        """As `submit`, for what clients ask for: refused while the disk is full."""
        if self._env.disk.free_bytes(self._directory) < _SPARE_BYTES:
            raise Overloaded("no disk space for changes of topics and groups: free some")
        return await self.submit(command)

    async def submit(self, command: Command) -> Result:
        """Have `command` committed.

        Raises:
            ChronosError: it was refused, or its outcome is not known in time.
        """
        self._seq += 1
        request = Request(self._client_id, self._seq, self._env.clock.now_ms(), command)
        reply = Reply[Outcome]()
        self._replica.submit(request, reply.set)
        self._wake.set()
        with trio.move_on_after(_SUBMIT_TIMEOUT_S):
            return faults.check(_result(await reply.get()))
        raise Timeout(f"the metadata did not answer within {_SUBMIT_TIMEOUT_S} s")


def _result(outcome: Outcome) -> Result:
    match outcome:
        case Result():
            return outcome
        case RefusedError():
            raise Overloaded(f"the metadata takes no commands now: {outcome}")
        case _:
            raise Timeout(f"whether the metadata took the command is not known: {outcome}")
