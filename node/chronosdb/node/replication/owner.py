"""What each copy needs of its node."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from chronosdb.node.environment import Threads
from chronosdb.node.replication.assignment import Propose
from chronosdb.node.replication.fences import Fences
from chronosdb.node.replication.leader import TermOwner
from chronosdb.node.replication.mending import Mender


@dataclass(frozen=True, slots=True)
class CopyOwner:
    """The node, as its copies see it."""

    threads: Threads
    term: TermOwner
    propose: Propose
    lag_max_s: float
    fences: Fences
    #: Held by who changes the fences.
    promising: trio.Lock
    mender: Mender
