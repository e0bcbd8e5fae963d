"""Everything this part raises. What a *command* did is a `Result`, never an exception."""

from __future__ import annotations


class RaftError(Exception):
    """Base of all errors of the metadata layer."""


class RefusedError(RaftError):
    """The command was definitely not applied, and never will be: it is safe to do anything next."""


class NotLeadingError(RefusedError):
    """Refused because this node does not lead, or not for sure: ask `leader`, if it is known."""

    def __init__(self, why: str, leader: str | None = None) -> None:
        super().__init__(why)
        self.leader = leader


class OutcomeUnknownError(RaftError):
    """The command may or may not be applied: retry it under the *same* request id."""


class MetadataFailedError(RaftError):
    """The replica has stopped for good (I15); the cause is chained. Restart the process."""


class StorageDamagedError(RaftError):
    """A file of the metadata directory is damaged or missing; nothing was changed on disk."""


class BadMessageError(RaftError):
    """A peer sent something that is no Raft message: close its connection."""


class UnsupportedCommandError(RaftError):
    """Bytes that this version cannot read as a command; `apply` turns it into a result."""
