"""Who was heard when (pure). Times are seconds of one monotonic clock, given by the caller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chronosdb.node.controller.messages import Heartbeat, Reading


@dataclass(frozen=True, slots=True)
class Heard:
    """A node's last heartbeat."""

    at_s: float
    beat: Heartbeat
    #: Since when it has been heard without a gap that would have fenced it.
    since_s: float


class Liveness:
    """The heartbeats that one node received, whether it is the controller or may be one day."""

    def __init__(self, fence_s: float, now_s: float) -> None:
        self._fence_s = fence_s
        self._heard: dict[str, Heard] = {}
        #: The silence of those who were never heard does not count from before.
        self._in_charge_s = now_s
        #: Nobody's silence counts from before.
        self._forgiven_s = now_s

    def hear(self, node: str, beat: Heartbeat, now_s: float) -> None:
        """A heartbeat came. Those of an earlier life, late on their way, are not heard."""
        last = self._heard.get(node)
        if last is not None and beat.incarnation < last.beat.incarnation:
            return
        lives = (
            last is not None
            and last.beat.incarnation == beat.incarnation
            and now_s - last.at_s <= self._fence_s
        )
        since_s = last.since_s if last is not None and lives else now_s
        self._heard[node] = Heard(now_s, beat, since_s)

    def took_charge(self, now_s: float) -> None:
        """Who was never heard has its time from now on; of the others it is known how silent they are."""
        self._in_charge_s = now_s

    def forgive(self, now_s: float) -> None:
        """This node stood still: nobody's silence meanwhile proves anything."""
        self._forgiven_s = now_s

    def last(self, node: str) -> Heard | None:
        """A node's last heartbeat, or None."""
        return self._heard.get(node)

    def forget(self, node: str) -> None:
        """It was removed."""
        self._heard.pop(node, None)

    def is_silent(self, node: str, now_s: float) -> bool:
        """Whether a node was not heard for so long that it is to be fenced."""
        return self.silence_s(node, now_s) > self._fence_s

    def is_deaf(self, node: str) -> bool:
        """Whether a node speaks, and has not heard this one for so long that it can have no lease."""
        heard = self._heard.get(node)
        return heard is not None and heard.beat.unanswered_ms > 1000 * self._fence_s

    def silence_s(self, node: str, now_s: float) -> float:
        """How long a node has not been heard."""
        heard = self._heard.get(node)
        last_s = self._in_charge_s if heard is None else heard.at_s
        return now_s - max(last_s, self._forgiven_s)

    def followed_until_s(
        self, leader: str, voters: Sequence[str], lease_s: float, now_s: float
    ) -> float:
        """Up to when `leader` surely is the only one: a majority of voters followed it a lease ago.

        Whoever leads next was elected by a majority, one of whom had stopped to follow before.
        """
        times = sorted((self._followed_s(leader, voter, now_s) for voter in voters), reverse=True)
        return times[len(times) // 2] + lease_s if times else now_s + lease_s

    def _followed_s(self, leader: str, voter: str, now_s: float) -> float:
        if voter == leader:
            return now_s
        heard = self._heard.get(voter)
        if heard is None or heard.beat.follows != leader:
            return float("-inf")
        return heard.at_s

    def readings(self, now_s: float) -> dict[str, Reading]:
        """What the nodes that are heard say of their clocks."""
        return {
            node: heard.beat.reading
            for node, heard in self._heard.items()
            if heard.beat.reading is not None and not self.is_silent(node, now_s)
        }
