"""The paces of heartbeats, elections and moves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ControllerOptions:
    """The same on all nodes, or a node's lease could outlast what its controller thinks."""

    heartbeat_interval_ms: int = 250
    #: How long a node may lead after its last heartbeat that was answered.
    lease_ms: int = 1_000
    #: How far a node's clock may be from the others'.
    max_clock_skew_ms: int = 500
    #: Partitions that get a new copy at one time.
    moves_in_flight: int = 8
    #: Leaderships that go back to the preferred leader, a second.
    returns_per_s: int = 16
    #: How long a node must have been alive before leaderships go back to it.
    settled_ms: int = 5_000

    #: How many nodes vote on the metadata at most; 0: as many as make the cluster safer.
    voters: int = 0

    #: After so long an absence a node gets nothing more that was still on its way to it.
    gone_ms: int = 60_000

    def __post_init__(self) -> None:
        assert 0 < 2 * self.heartbeat_interval_ms <= self.lease_ms, self
        assert self.max_clock_skew_ms > 0, self
        assert self.moves_in_flight > 0, self
        assert self.returns_per_s > 0, self

    @property
    def lease_s(self) -> float:
        """How long a lease lasts."""
        return self.lease_ms / 1000

    @property
    def all_read_s(self) -> float:
        """After so long all that are heard have read the controller's clock anew, and told it."""
        return 3 * self.heartbeat_interval_ms / 1000

    @property
    def fence_s(self) -> float:
        """After so long a silence a node is fenced: its lease has ended by then."""
        return 1.5 * self.lease_s
