"""Who leads a partition next (pure): somebody who surely has everything that was committed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from chronosdb.node.replication.quorum import quorum


class Standing(NamedTuple):
    """How far a replica's log goes, as of when it promised to take nothing more of an old epoch."""

    #: Of the leader whose records end the log.
    last_epoch: int
    #: As far as it is synced.
    end_lsn: int


def winner(isr: Sequence[str], standings: Mapping[str, Standing], fit: Sequence[str]) -> str | None:
    """Of `fit`, the preferred first, who may lead and has most; None if that cannot be said yet.

    Whatever was committed is with a quorum of the ISR. At least `surely` of those who answered are
    of that quorum, so the one that comes `surely`-th by its log has all of it, and so has everyone
    who is no worse.
    """
    answered = {node: standings[node] for node in isr if node in standings}
    surely = quorum(len(isr)) - (len(isr) - len(answered))
    if surely < 1:
        return None
    least = sorted(answered.values(), reverse=True)[surely - 1]
    able = [node for node in fit if node in answered and answered[node] >= least]
    # `max` takes the first of equals.
    return max(able, key=answered.__getitem__, default=None)
