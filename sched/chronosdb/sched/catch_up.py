"""Which occurrences are still wanted when some were missed, because nobody was there at their time."""

from __future__ import annotations

from collections import deque
from itertools import takewhile
from typing import Final, Literal, NamedTuple

from chronosdb.sched.recurrence import Recurrence

#: "all": each of them, however old. "latest": of those that are past only the newest. "none": none.
#: A number: those not older than so many milliseconds.
CatchUp = Literal["all", "latest", "none"] | int

#: An occurrence is on time until so long after it: whoever makes events of them is not infinitely fast.
GRACE_MS: Final = 1_000

_MINUTE: Final = 60_000
#: How far to look back for the newest occurrence. Each step is a small multiple of the one before, so
#: that a rule which has none in the one before has few in this one.
_STEPS_BACK_MS: Final = tuple(_MINUTE * n for n in (1, 10, 60, 360, 1440, 10_080, 44_640, 527_040))


class Wanted(NamedTuple):
    """Occurrences to make events of, in order, and the first that is not among them, if there is one."""

    occurrences: list[int]
    following: int | None


def wanted(
    rule: Recurrence, catch_up: CatchUp, *, done_ms: int, now_ms: int, until_ms: int, limit: int
) -> Wanted:
    """The next occurrences, at most `limit`: later than `done_ms`, up to `until_ms`.

    What is behind `now_ms` was missed, and is in it as far as `catch_up` says so.
    """
    assert now_ms <= until_ms, (now_ms, until_ms)
    found: list[int] = []
    for occurrence in rule.after(_wanted_after(rule, catch_up, done_ms, now_ms)):
        if occurrence > until_ms or len(found) == limit:
            return Wanted(found, occurrence)
        found.append(occurrence)
    return Wanted(found, None)


def latest(rule: Recurrence, after_ms: int, now_ms: int) -> int | None:
    """The newest occurrence in (`after_ms`, `now_ms`], None if there is none."""
    for step_ms in (*_STEPS_BACK_MS, now_ms - after_ms):
        from_ms = max(after_ms, now_ms - step_ms)
        newest = deque(takewhile(lambda o: o <= now_ms, rule.after(from_ms)), maxlen=1)
        if newest:
            return newest[0]
        if from_ms == after_ms:
            break
    return None


def _wanted_after(rule: Recurrence, catch_up: CatchUp, done_ms: int, now_ms: int) -> int:
    match catch_up:
        case "all":
            return done_ms
        case "latest":
            newest = latest(rule, done_ms, now_ms)
            return done_ms if newest is None else newest - 1
        case "none":
            return max(done_ms, now_ms - GRACE_MS - 1)
        case int():
            return max(done_ms, now_ms - catch_up - GRACE_MS - 1)
