"""Which missed occurrences are still wanted."""

from __future__ import annotations

from itertools import takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronosdb.sched import CatchUp, Recurrence, wanted
from chronosdb.sched.catch_up import GRACE_MS, latest

LEAD_MS = 5_000
YEAR_MS = 365 * 86_400_000

rules = st.sampled_from(
    [
        Recurrence(start_ms=500, every_ms=1_000),
        Recurrence(start_ms=7, every_ms=61_000),
        Recurrence(start_ms=0, cron="*/10 * * * *"),
        Recurrence(start_ms=0, cron="0 3 * * *", tz="Europe/Paris", end_ms=3 * 86_400_000),
    ]
)


@given(
    rule=rules,
    catch_up=st.sampled_from(["all", "latest", "none"]) | st.integers(0, 400_000),
    done_ms=st.integers(0, 400_000),
    now_ms=st.integers(0, 400_000),
    limit=st.integers(1, 500),
)
@settings(max_examples=200, deadline=None)
def test_what_is_wanted_is_what_the_policy_says(
    rule: Recurrence, catch_up: CatchUp, done_ms: int, now_ms: int, limit: int
) -> None:
    """Against the policies in their own words."""
    until_ms = now_ms + LEAD_MS
    after = list(takewhile(lambda o: o <= until_ms, rule.after(done_ms)))
    past = [o for o in after if o <= now_ms]
    still = {
        "all": past,
        "latest": past[-1:],
        "none": [o for o in past if o >= now_ms - GRACE_MS],
    }
    if isinstance(catch_up, int):
        chosen = [o for o in past if o >= now_ms - GRACE_MS - catch_up]
    else:
        chosen = still[catch_up]
    expected = chosen + [o for o in after if o > now_ms]
    found = wanted(rule, catch_up, done_ms=done_ms, now_ms=now_ms, until_ms=until_ms, limit=limit)
    assert found.occurrences == expected[:limit]
    last = (expected[:limit] or [until_ms])[-1] if len(expected) > limit else until_ms
    assert found.following == next(rule.after(max(last, done_ms)), None)


@pytest.mark.parametrize(
    ("expression", "now", "newest"),
    [
        ("* * * * * *", 10 * YEAR_MS, 10 * YEAR_MS),
        ("0 0 1 1 *", 10 * YEAR_MS, 283_996_800_000),
        ("0 0 29 2 *", 10 * YEAR_MS, 68_169_600_000 + 1461 * 86_400_000),
        ("* * 3 * * *", 10 * YEAR_MS - 1, 10 * YEAR_MS - 20 * 3_600_000 - 1_000),
    ],
)
def test_the_newest_is_found_at_any_distance(expression: str, now: int, newest: int) -> None:
    """Without stepping through the ten years before."""
    rule = Recurrence(start_ms=0, cron=expression)
    assert latest(rule, 0, now) == newest
    assert latest(rule, newest, now) is None
