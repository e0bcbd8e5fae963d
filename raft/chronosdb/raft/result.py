"""The answer to a command: plain data, equal on every replica, stored in snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class Status(StrEnum):
    """How a command ended; only `OK` changed anything."""

    #: Applied, or already so.
    OK = "ok"
    #: Something of that name exists and differs; the detail says in what.
    CONFLICT = "conflict"
    NOT_FOUND = "not_found"
    #: The command can never succeed as it stands; the detail says why.
    INVALID = "invalid"
    #: A bound of `limits` is reached.
    LIMIT = "limit"
    #: A retry so late that its first answer is forgotten; look at the view instead.
    STALE = "stale"
    #: Bytes or a schema that this version does not know.
    UNSUPPORTED = "unsupported"
    #: A bug in this version, met and skipped alike by every replica.
    INTERNAL = "internal"


PlainResult: TypeAlias = list[str | bool | int]


@dataclass(frozen=True, slots=True)
class Result:
    """What `apply` returned: `created` if something new was made, `id` of the topic concerned."""

    status: Status
    detail: str = ""
    created: bool = False
    id: int = 0

    @property
    def ok(self) -> bool:
        """Whether the cluster now is as the command wanted it."""
        return self.status is Status.OK

    def to_plain(self) -> PlainResult:
        """The four fields as msgpack can carry them."""
        return [self.status.value, self.detail, self.created, self.id]

    @classmethod
    def from_plain(cls, plain: tuple[str, str, bool, int]) -> Result:
        """Inverse of `to_plain`; raises ValueError for an unknown status."""
        status, detail, created, topic_id = plain
        return cls(Status(status), detail, created, topic_id)
