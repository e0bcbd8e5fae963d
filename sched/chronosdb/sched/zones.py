"""Time zones, from the `tzdata` package and from nowhere else.

The host's own files would be found first by `zoneinfo`; they differ from host to host and change under
a running system. The package is pinned and the same for every node, so all agree on every local time.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

import tzdata

from chronosdb.sched.errors import RecurrenceError

#: Which release of the IANA database this is, such as "2026a".
RELEASE: Final[str] = tzdata.IANA_VERSION
_SHOWN_CHARS: Final = 64


@cache
def zone_names() -> frozenset[str]:
    """Every name that `zone` knows."""
    return frozenset(files(tzdata).joinpath("zones").read_text("ascii").split())


def zone(name: str) -> ZoneInfo:
    """The zone of that IANA name, such as "Europe/Paris".

    Raises:
        RecurrenceError: there is none.
    """
    # Looked up before anything is read: a name never becomes a path by itself.
    if name not in zone_names():
        raise RecurrenceError(
            f"there is no time zone {name[:_SHOWN_CHARS]!r}; IANA names such as 'Europe/Paris' or"
            f" 'UTC' are known (tzdata {RELEASE})"
        )
    return _load(name)


@cache
def _load(name: str) -> ZoneInfo:
    with files(tzdata).joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)
