"""Recurrence against a wall clock that is looked at every minute, through every kind of clock change."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from itertools import islice, pairwise, takewhile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronosdb.sched import Recurrence, RecurrenceError
from chronosdb.sched.local_time import Fold, Gap
from chronosdb.sched.recurrence import TIME_MAX_MS
from chronosdb.sched.zones import zone
from tests.support.wall_clock_reference import Times, WallClock

DAY_MS = 86_400_000

#: A zone and a day, in UTC, on which its clocks change.
CHANGES = [
    ("Europe/Paris", "2030-03-31"),  # forward by an hour
    ("Europe/Paris", "2030-10-27"),  # back
    ("America/New_York", "2030-03-10"),
    ("America/New_York", "2030-11-03"),
    ("Australia/Lord_Howe", "2030-10-05"),  # by half an hour, and on the other side of the year
    ("Australia/Lord_Howe", "2030-04-06"),
    ("America/Sao_Paulo", "2018-11-04"),  # at midnight: a day without its first hour
    ("Africa/Casablanca", "2025-02-23"),  # back for a month, not for a winter
    ("Pacific/Apia", "2011-12-30"),  # a whole day that never was
    ("Antarctica/Troll", "2030-03-31"),  # by two hours
    ("Asia/Pyongyang", "2015-08-14"),  # the offset itself changed
    ("UTC", "2030-03-31"),
]


def ms(text: str) -> int:
    """An ISO time, in UTC unless it says otherwise."""
    time = dt.datetime.fromisoformat(text)
    return round((time if time.tzinfo else time.replace(tzinfo=dt.UTC)).timestamp() * 1000)


def iso(instant: int, name: str = "UTC") -> str:
    """What a clock in that zone shows."""
    return dt.datetime.fromtimestamp(instant / 1000, zone(name)).isoformat(timespec="minutes")


def between(rule: Recurrence, after_ms: int, until_ms: int) -> list[int]:
    return list(takewhile(lambda o: o <= until_ms, rule.after(after_ms)))


def cron(expression: str, *, start_ms: int = 0, **facts: Any) -> Recurrence:
    return Recurrence(start_ms=start_ms, cron=expression, **facts)


def subsets(low: int, high: int) -> st.SearchStrategy[frozenset[int]]:
    return st.frozensets(st.integers(low, high), min_size=1, max_size=4)


times = st.builds(
    Times,
    subsets(0, 59),
    st.none() | subsets(0, 3) | subsets(0, 23),
    st.none() | subsets(1, 31),
    st.none() | subsets(0, 6),
)


@pytest.fixture(scope="module")
def clocks() -> dict[tuple[str, str], WallClock]:
    """Each change, from three days before to three days after."""
    return {(name, day): _around(name, day) for name, day in CHANGES}


def _around(name: str, day: str) -> WallClock:
    midnight = dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC)
    three = dt.timedelta(days=3)
    return WallClock(zone(name), midnight - three, midnight + three)


@pytest.mark.slow
@given(
    change=st.sampled_from(CHANGES),
    when=times,
    gap=st.sampled_from(["skip", "shift"]),
    fold=st.sampled_from(["first", "last", "both"]),
    after_minutes=st.integers(-30 * 60, 30 * 60),
)
@settings(max_examples=300, deadline=None)
def test_occurrences_are_those_that_a_wall_clock_shows(  # noqa: PLR0917 - drawn by name
    clocks: dict[tuple[str, str], WallClock],
    change: tuple[str, str],
    when: Times,
    gap: Gap,
    fold: Fold,
    after_minutes: int,
) -> None:
    """From any moment around any change, under any policy: the same instants, in order, each once."""
    name, day = change
    after_ms = ms(day) + after_minutes * 60_000
    until_ms = ms(day) + int(1.5 * DAY_MS)
    rule = cron(when.cron, tz=name, gap=gap, fold=fold)
    expected = clocks[change].occurrences(when, gap, fold)
    assert between(rule, after_ms, until_ms) == [o for o in expected if after_ms < o <= until_ms]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"gap": "skip"}, ["2030-03-30T02:30+01:00", "2030-04-01T02:30+02:00"]),
        (
            {"gap": "shift"},
            ["2030-03-30T02:30+01:00", "2030-03-31T03:30+02:00", "2030-04-01T02:30+02:00"],
        ),
    ],
)
def test_half_past_two_on_the_day_that_has_none(
    policy: dict[str, Any], expected: list[str]
) -> None:
    """Clocks in Paris go from 02:00 to 03:00: skipped, or an hour later by the clock."""
    rule = cron("30 2 * * *", tz="Europe/Paris", **policy)
    found = between(rule, ms("2030-03-30"), ms("2030-04-01T12:00"))
    assert [iso(o, "Europe/Paris") for o in found] == expected


@pytest.mark.parametrize(
    ("fold", "expected"),
    [
        ("first", ["2030-10-27T02:30+02:00"]),
        ("last", ["2030-10-27T02:30+01:00"]),
        ("both", ["2030-10-27T02:30+02:00", "2030-10-27T02:30+01:00"]),
    ],
)
def test_half_past_two_on_the_day_that_has_two(fold: Fold, expected: list[str]) -> None:
    """Clocks in Paris go from 03:00 to 02:00: the first, the second, or both."""
    rule = cron("30 2 * * *", tz="Europe/Paris", fold=fold)
    found = between(rule, ms("2030-10-27"), ms("2030-10-27T12:00"))
    assert [iso(o, "Europe/Paris") for o in found] == expected


def test_a_shifted_time_that_meets_another_is_one_occurrence() -> None:
    """Every quarter of an hour stays every quarter of an hour when the clocks go forward."""
    rule = cron("*/15 * * * *", tz="Europe/Paris", gap="shift")
    found = between(rule, ms("2030-03-31T00:00"), ms("2030-03-31T04:00"))
    assert {later - earlier for earlier, later in pairwise(found)} == {15 * 60_000}


def test_six_fields_begin_with_seconds() -> None:
    """`*/20` in front: three times a minute."""
    first, *others = islice(cron("*/20 1 8 * * *").after(ms("2030-01-01")), 4)
    assert iso(first) == "2030-01-01T08:01+00:00"
    assert [o - first for o in others] == [20_000, 40_000, DAY_MS]


@pytest.mark.parametrize(
    ("expression", "first"),
    [
        ("0 0 L * *", "2030-01-31T00:00+00:00"),
        ("0 0 LW * *", "2030-01-31T00:00+00:00"),
        ("0 0 * * MON#2", "2030-01-14T00:00+00:00"),
        ("0 0 * * 5L", "2030-01-25T00:00+00:00"),
        ("0 0 29 FEB *", "2032-02-29T00:00+00:00"),
        ("5-10/5 12 1 7 *", "2030-07-01T12:05+00:00"),
        ("0 0 13 * FRI", "2030-01-04T00:00+00:00"),
    ],
)
def test_what_an_expression_may_hold(expression: str, first: str) -> None:
    """Names, ranges, steps, last days; day of month or weekday when both are given."""
    assert iso(next(cron(expression).after(ms("2030-01-01")))) == first


@given(
    every=st.integers(1_000, 10**10),
    start=st.integers(0, 10**12),
    after=st.integers(-1, 10**13),
)
@settings(max_examples=100, deadline=None)
def test_an_interval_counts_from_its_start(every: int, start: int, after: int) -> None:
    """The next occurrence is the least start + n * every behind `after`, n from 0."""
    first, second = islice(Recurrence(start_ms=start, every_ms=every).after(after), 2)
    assert first > after
    assert first >= start
    assert (first - start) % every == 0
    assert first - every < max(start, after + 1)
    assert second == first + every


def test_start_is_an_occurrence_and_end_is_none() -> None:
    """[start, end), for intervals and for cron."""
    minute: dict[str, Any] = {"start_ms": 60_000, "end_ms": 240_000}
    for rule in (Recurrence(every_ms=60_000, **minute), cron("* * * * *", **minute)):
        assert list(rule.after(-1)) == [60_000, 120_000, 180_000]
        assert list(rule.after(120_000)) == [180_000]
        assert list(rule.after(10**17)) == []


def test_the_calendar_ends() -> None:
    """Nothing occurs in the last year that a calendar has, and nothing breaks there."""
    for rule in (cron("0 0 31 12 *"), Recurrence(start_ms=0, every_ms=DAY_MS)):
        last = list(rule.after(TIME_MAX_MS - 2 * 366 * DAY_MS))[-1]
        assert iso(last).startswith("9998-12-31")


def test_an_expression_that_never_matches_ends() -> None:
    """The 30th of February in a rule that allows it to be asked."""
    assert list(cron("0 0 */20 * 1L").after(0)) == []


@given(st.text(alphabet="0123456789*/,-#LW MONFRI?", max_size=40) | st.text(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    """With one error and no other; what is accepted can be stepped."""
    with suppress(RecurrenceError):
        list(islice(cron(text).after(0), 2))


@pytest.mark.parametrize("name", ["", ".", "..", "../UTC", "/etc/localtime", "Mars", "UTC\0"])
def test_only_names_of_the_database_are_zones(name: str) -> None:
    """A name never becomes a path."""
    with pytest.raises(RecurrenceError, match="no time zone"):
        zone(name)


def test_jitter_spreads_and_stays() -> None:
    """Within its bound, not the same for each schedule, and always the same for one."""
    rule = Recurrence(start_ms=0, every_ms=60_000, jitter_ms=10_000)
    occurrences = list(islice(rule.after(0), 500))
    delays = [rule.due_ms("a", o) - o for o in occurrences]
    assert delays == [rule.due_ms("a", o) - o for o in occurrences]
    assert delays != [rule.due_ms("b", o) - o for o in occurrences]
    assert 0 <= min(delays) < 500
    assert 9_500 < max(delays) <= 10_000
    assert Recurrence(start_ms=0, every_ms=60_000).due_ms("a", 7) == 7


def test_jitter_is_what_it_was_in_earlier_versions() -> None:
    """Golden: another value would move events that are already promised."""
    rule = Recurrence(start_ms=0, every_ms=60_000, jitter_ms=10_000)
    delays = [rule.due_ms("backup", n * 60_000) - n * 60_000 for n in range(4)]
    assert delays == [1_262, 2_715, 8_831, 1_445]
