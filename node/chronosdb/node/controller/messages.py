"""What nodes and the controller tell each other: bodies of the call `heartbeat` (node/PEERS.md)."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from msgspec import Meta, Struct

#: Partitions that one heartbeat reports as refused; the next one has the others.
REFUSED_MAX: Final = 512

_Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**53 - 1)]
_Signed: TypeAlias = Annotated[int, Meta(ge=-(2**53), le=2**53)]
_Name: TypeAlias = Annotated[str, Meta(max_length=249)]


class Reading(Struct, frozen=True, array_like=True):
    """One clock against another, by one question and its answer."""

    #: How much the receiver's clock is ahead of the sender's.
    ahead_ms: _Signed
    #: Half the round trip: so much it may be wrong.
    error_ms: _Count


class Heartbeat(Struct, frozen=True, array_like=True):
    """A node lives. Sent to every voter: whoever of them leads next knows already who is there."""

    incarnation: _Count
    #: Who leads the metadata, as the sender knows it; empty if nobody.
    follows: _Name
    #: What the sender made of the last answer; None before the first.
    reading: Reading | None
    #: For how long the sender has asked this receiver in vain.
    unanswered_ms: _Count
    #: It is about to stop, and wants to lead nothing.
    resigns: bool
    #: (topic id, partition, epoch) that it led until it was refused under that epoch.
    refused: Annotated[list[tuple[_Count, _Count, _Count]], Meta(max_length=REFUSED_MAX)]


class Granted(Struct, frozen=True, array_like=True):
    """The answer: for so long, from when the heartbeat was sent, the node may lead."""

    #: 0: not at all.
    lease_ms: _Count
    #: The answering node's clock.
    wall_ms: _Count
    #: Why there is no lease.
    why: Annotated[str, Meta(max_length=200)]
