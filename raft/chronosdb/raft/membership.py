"""Follows the log for who votes: the newest change counts, committed or not, as Raft wants it."""

from __future__ import annotations

from collections.abc import Iterable

from chronosdb.raft import codec
from chronosdb.raft.commands import ChangeVoters
from chronosdb.raft.encoding import CHANGE_VOTERS_MARK, decode
from chronosdb.raft.errors import UnsupportedCommandError
from chronosdb.raft.messages import COMMAND_KIND
from chronosdb.raft.record import Entry
from chronosdb.raft.voters import Voters, change_problem


class Membership:
    """The voters as the log has them, entry by entry."""

    def __init__(self, base: Voters, entries: Iterable[Entry] = ()) -> None:
        #: Invariant: never empty; indices rise; each follows from the one before by the rule.
        self._history = [base]
        for entry in entries:
            self.append(entry)

    @property
    def current(self) -> Voters:
        """Who votes now."""
        return self._history[-1]

    def as_of(self, index: int) -> Voters:
        """Who voted when the log ended at `index`, which no snapshot has passed."""
        return next(voters for voters in reversed(self._history) if voters.index <= index)

    def append(self, entry: Entry) -> None:
        """An entry was appended. What a snapshot already told is not told again."""
        if entry.idx <= self.current.index:
            return
        change = _change_in(entry.command)
        if change is not None and change_problem(self.current, change) is None:
            self._history.append(Voters(entry.idx, change.voters))

    def truncate_from(self, index: int) -> None:
        """The entries from `index` on are gone."""
        while self.current.index >= index and len(self._history) > 1:
            self._history.pop()

    def restart(self, base: Voters) -> None:
        """A snapshot from the leader took the log's place."""
        self._history = [base]


def _change_in(command: bytes) -> ChangeVoters | None:
    if CHANGE_VOTERS_MARK not in command:
        return None  # Nearly every entry: not worth decoding.
    if command[0] != COMMAND_KIND:
        return None
    _, (blob,) = codec.loads(command[1:])
    try:
        found = decode(blob).command
    except UnsupportedCommandError:
        return None
    return found if isinstance(found, ChangeVoters) else None
