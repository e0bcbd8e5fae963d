"""What a node says of the members that are attached to it, to the node that leads the metadata.

A report has a number. While it stays true, its number alone is repeated: so a thousand idle members cost
a few bytes now and then, and whoever begins to lead asks for all of it again.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta, Struct

#: Of the call.
METHOD: Final = "members"

_Number: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
#: (topic, group) of an ordered group.
GroupKey: TypeAlias = tuple[str, str]


class Attached(Struct, frozen=True, array_like=True):
    """The members of one group that are attached to a node."""

    topic: str
    group: str
    members: list[str]


class Report(Struct, frozen=True, array_like=True):
    """All that are attached, or None: they are those of the report with this number."""

    #: Tells one life of a node from the next, whose numbers begin again.
    life: _Number
    number: _Number
    attached: list[Attached] | None


class Reception(IntEnum):
    """What became of a report."""

    #: It is known, and remembered for a while.
    KNOWN = 0
    #: Its number says nothing to me: I need all of it.
    UNKNOWN = 1
    #: I do not lead the metadata.
    NOT_MINE = 2


encode_report = msgspec.msgpack.Encoder().encode
decode_report = msgspec.msgpack.Decoder(Report).decode


def encode_reception(reception: Reception) -> bytes:
    """One byte."""
    return bytes([reception])


def decode_reception(body: bytes) -> Reception:
    """Whatever is no reception is none of mine."""
    known = len(body) == 1 and body[0] in set(Reception)
    return Reception(body[0]) if known else Reception.NOT_MINE
