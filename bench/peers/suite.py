"""ChronosDB beside what one would use instead: the same works, machine, disk and minutes.

Peers that are not installed are left out, and it is said how to install them. A contestant that syncs
once for each event gets a tenth of the events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from bench.case import Piece
from bench.peers.beanstalkd import Beanstalkd
from bench.peers.contestant import Contestant, Ours, Theirs
from bench.peers.nats import Nats, NatsSynced
from bench.peers.postgres import Postgres
from bench.peers.redis import Redis
from bench.peers.works import WORKS

__all__ = ["CONTESTANTS", "WORKS", "pieces"]

#: By the word that the command line has for each.
CONTESTANTS: Final[Mapping[str, Contestant]] = {
    "chronosdb": Ours(),
    "redis": Theirs(Redis),
    "postgresql": Theirs(Postgres),
    "nats": Theirs(Nats),
    "nats-synced": Theirs(NatsSynced),
    "beanstalkd": Theirs(Beanstalkd),
}


def pieces(
    works: Sequence[str], peers: Sequence[str], scale: float
) -> tuple[list[Piece], list[str]]:
    """The works with these names, of these peers and ourselves; none named: all of them.

    Also why peers are missing, if some are.
    """
    chosen = [
        one
        for name, one in CONTESTANTS.items()
        if not peers or name in peers or isinstance(one, Ours)
    ]
    reasons = {one.name: one.missing() for one in chosen}
    there = [one for one in chosen if reasons[one.name] is None]
    built = [piece for name in works or WORKS for piece in WORKS[name](there, scale)]
    return built, [f"{name}: {reason}" for name, reason in reasons.items() if reason]
