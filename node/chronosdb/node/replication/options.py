"""Every setting of replication that is the node's, in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReplicationOptions:
    """How followers are fed, and when one counts no more."""

    #: A replica that has not been level with the leader for so long leaves the ISR.
    lag_max_ms: int = 10_000
    #: At most so much is sent per second to each node that is not in the ISR; 0: as much as it takes.
    catch_up_bytes_per_s: int = 0
    #: Records in one append, about.
    append_bytes: int = 1024 * 1024
    #: A record larger than this is sent in pieces.
    piece_bytes: int = 2 * 1024 * 1024
