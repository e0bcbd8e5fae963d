"""Who votes, and the one rule by which that changes (pure).

The rule is a function of the log alone: whether a change takes effect depends on the changes before
it and on nothing else. So the log's reader (`membership.py`, which Raft obeys as soon as an entry is
appended) and the state machine (which applies it when committed) always come to the same voters.
"""

from __future__ import annotations

from dataclasses import dataclass

from chronosdb.raft.commands import ChangeVoters
from chronosdb.raft.limits import VOTERS_MAX
from chronosdb.raft.names import name_problem


@dataclass(frozen=True, slots=True)
class Voters:
    """The voters from log entry `index` on; 0 are those that a node was set up with."""

    index: int
    #: Sorted. In a state machine that no change has reached yet, empty.
    names: tuple[str, ...]


def change_problem(current: Voters, change: ChangeVoters) -> str | None:
    """Why `change` has no effect on `current`, or None if it has."""
    if change.base != current.index:
        return f"the voters have changed since entry {change.base}: at entry {current.index}"
    if not 1 <= len(change.voters) <= VOTERS_MAX:
        return f"{len(change.voters)} voters; there must be 1 to {VOTERS_MAX}"
    if list(change.voters) != sorted(set(change.voters)):
        return "the voters must be sorted, each named once"
    for name in change.voters:
        problem = name_problem("node", name)
        if problem:
            return problem
    # Two majorities of voters that differ by one always share a node; by two, perhaps not. Of the
    # first change, which writes down what every node was set up with, the leader makes sure.
    if current.index and len(set(current.names) ^ set(change.voters)) > 1:
        return f"voters change one at a time; now they are {', '.join(current.names)}"
    return None
