"""What can be tuned. Times are seconds, because PySyncObj's are."""

from __future__ import annotations

from dataclasses import dataclass

from chronosdb.raft.limits import ANSWERS_PER_SESSION_MAX, ENTRY_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Options:
    """The defaults suit a LAN and a loop that may stall for some hundred milliseconds."""

    #: A follower that hears nothing for a random time between the two starts an election.
    election_min_s: float = 1.0
    election_max_s: float = 2.0
    #: How often a leader lets its followers hear from it.
    heartbeat_s: float = 0.2
    #: A leader without answers from a majority for that long steps down.
    leader_fallback_s: float = 2.0
    #: A snapshot is taken when the journal holds more entries than this ...
    compact_entries: int = 5_000
    #: ... or when the last one is that old and something was applied since.
    compact_interval_s: float = 3_600.0
    #: Bytes of entries in one message; a command always fits whole.
    batch_bytes: int = 1024 * 1024
    #: Commands submitted and not yet answered; more are refused.
    in_flight_max: int = ANSWERS_PER_SESSION_MAX

    def __post_init__(self) -> None:
        assert 0 < 3 * self.heartbeat_s < self.election_min_s < self.election_max_s, self
        assert self.leader_fallback_s > self.heartbeat_s, self
        assert self.compact_entries >= 2, self
        assert self.compact_interval_s > 0, self
        # The library splits a longer entry over messages, and gets that wrong.
        assert self.batch_bytes > ENTRY_BYTES_MAX, self
        # Or a retry after a change of leaders could find its answer forgotten already.
        assert 1 <= self.in_flight_max <= ANSWERS_PER_SESSION_MAX, self
