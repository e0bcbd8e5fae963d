"""What is asked of a replay, checked."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from chronosdb.client.arguments import check_count, check_name
from chronosdb.wire import partition_for
from chronosdb.wire.errors import InvalidArgument
from chronosdb.wire.event import check_key, epoch_ms
from chronosdb.wire.limits import MAX_PARTITIONS_PER_TOPIC
from chronosdb.wire.messages.replay import ReplayBy, ReplayPlace
from chronosdb.wire.replay_token import TOKEN_VERSION, Token, decode_token, encode_token

#: The orders there are.
ORDERS: Final[tuple[ReplayBy, ...]] = get_args(ReplayBy)


@dataclass(frozen=True, slots=True)
class ReplayTerms:
    """Which events of a topic, in which order: those in [start, end), None: no bound."""

    topic: str
    by: ReplayBy
    #: Epoch ms; by "offset", offsets.
    start: int | None
    end: int | None
    key: bytes | None
    partition: int | None

    def partitions(self, count: int) -> Sequence[int]:
        """Where they are; a key is in one partition only."""
        if self.partition is not None:
            return (self.partition,)
        return range(count) if self.key is None else (partition_for(self.key, b"", count),)

    def token(self, places: Mapping[int, ReplayPlace]) -> bytes:
        """These terms, and how far each partition has come."""
        return encode_token(self._token(places))

    def places(self, token: bytes | None) -> dict[int, ReplayPlace]:
        """How far each partition had come.

        Raises:
            InvalidArgument: no token, or one of other terms.
        """
        if token is None:
            return {}
        if not isinstance(token, bytes):
            raise InvalidArgument(f"token must be bytes, not {type(token).__name__}")
        found = decode_token(token)
        if found != self._token(found.places):
            raise InvalidArgument(
                f"the token is of a replay of {found.topic!r} by {found.by!r} from {found.start} to"
                f" {found.end}, key {found.key!r}, partition {found.partition}: give the same ones"
            )
        return found.places

    def _token(self, places: Mapping[int, ReplayPlace]) -> Token:
        return Token(
            TOKEN_VERSION,
            self.topic,
            self.by,
            self.start,
            self.end,
            self.key,
            self.partition,
            dict(places),
        )


def replay_terms(
    topic: str,
    *,
    by: str,
    start: dt.datetime | int | None,
    end: dt.datetime | int | None,
    key: bytes | None,
    partition: int | None,
) -> ReplayTerms:
    """The arguments of a call.

    Raises:
        InvalidArgument: a value that is not allowed.
        TypeError: a naive datetime, or no int by "offset".
    """
    order = next((known for known in ORDERS if known == by), None)
    if order is None:
        raise InvalidArgument(f"by must be one of {', '.join(ORDERS)}, not {by!r}")
    bound = _offset if order == "offset" else epoch_ms
    return ReplayTerms(
        check_name("topic", topic),
        order,
        None if start is None else bound(start),
        None if end is None else bound(end),
        None if key is None else check_key(key),
        None
        if partition is None
        else check_count("partition", partition, 0, MAX_PARTITIONS_PER_TOPIC - 1),
    )


def check_follow(order: ReplayBy, *, follow: bool) -> bool:
    """Whether a replay goes on with what is committed later.

    Raises:
        InvalidArgument: in this order it cannot.
    """
    if follow and order == "scheduled":
        raise InvalidArgument(
            "by='scheduled' cannot follow: an event may be published that is due before the last one"
            " you got; follow by='published' or by='fired'"
        )
    return follow


def check_speed(speed: object) -> float | None:
    """How many times faster than the original the events come; None: as fast as they can.

    Raises:
        InvalidArgument: not a positive, finite number.
    """
    if speed is None:
        return None
    if isinstance(speed, bool) or not isinstance(speed, (int, float)):
        raise InvalidArgument(f"speed must be a number, not {type(speed).__name__}")
    if not 0 < speed < math.inf:
        raise InvalidArgument(f"speed must be above 0 and finite, not {speed}")
    return float(speed)


def _offset(value: dt.datetime | int) -> int:
    if isinstance(value, dt.datetime):
        raise TypeError("by='offset' takes offsets (int) as start and end, not datetimes")
    return check_count("an offset", value, 0, 2**63 - 1)
