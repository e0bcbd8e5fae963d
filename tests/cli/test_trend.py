"""What `chronos top` makes of readings."""

from __future__ import annotations

import pytest

from chronosdb.client import NodeStats, TopicStats
from chronosdb.client.cli.live import fitting
from chronosdb.client.cli.trend import Trend, bars, quantile

BOUNDS = [1, 10, 100]


def reading(now_ms: int, *, started_ms: int = 0, **topic: int | list[int]) -> NodeStats:
    """A node with a topic of which some numbers are given."""
    names = TopicStats.__struct_fields__
    empty = {name: [0] * 4 if name in {"lateness", "upcoming"} else 0 for name in names}
    stats = TopicStats(**{**empty, "name": "t", **topic})  # type: ignore[arg-type]
    return NodeStats("n", "c", "1", started_ms, now_ms, 0, 0, 0, 0, BOUNDS, [stats])


def test_one_reading_gives_no_rate() -> None:
    """Counters since the node started say nothing about now."""
    [topic] = Trend().add(reading(5000, published=70, lateness=[9, 0, 0, 0]))
    assert (topic.published, topic.late_p50_ms) == (None, None)


def test_a_rate_is_that_since_the_reading_before() -> None:
    """Also when readings come late."""
    trend = Trend()
    trend.add(reading(0, fired=100))
    trend.add(reading(1000, fired=300))
    [topic] = trend.add(reading(5000, fired=700))
    assert topic.fired == 100


def test_lateness_is_that_of_the_last_minute() -> None:
    """What was late before is forgotten when a minute has gone by."""
    trend = Trend()
    trend.add(reading(0, lateness=[0, 0, 0, 0]))
    [topic] = trend.add(reading(10_000, lateness=[0, 0, 50, 0]))
    assert (topic.late_p50_ms, topic.late_p99_ms) == (100, 100)
    [topic] = trend.add(reading(30_000, lateness=[950, 0, 50, 0]))
    assert (topic.late_p50_ms, topic.late_p99_ms) == (1, 100)
    [topic] = trend.add(reading(70_000, lateness=[960, 0, 50, 0]))
    assert (topic.late_p50_ms, topic.late_p99_ms) == (1, 1)


def test_a_restarted_node_is_not_compared_with_its_last_life() -> None:
    """Its counters have begun anew: no rate is negative."""
    trend = Trend()
    trend.add(reading(0, published=1000))
    [topic] = trend.add(reading(2000, started_ms=1000, published=4))
    assert topic.published is None
    [topic] = trend.add(reading(3000, started_ms=1000, published=7))
    assert topic.published == 3


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ([0, 0, 0, 0], 0.5, None),
        ([1, 0, 0, 0], 0.99, 1),
        ([98, 1, 1, 0], 0.99, 10),
        ([98, 0, 2, 0], 0.99, 100),
        ([0, 0, 0, 1], 0.5, float("inf")),
    ],
)
def test_a_quantile_is_the_bound_that_so_many_do_not_exceed(
    counts: list[int], share: float, expected: float | None
) -> None:
    """Never better than what was measured."""
    assert quantile(counts, BOUNDS, share) == expected


@pytest.mark.parametrize(
    ("counts", "shown"),
    [
        ([0] * 8, "    "),
        ([1, 0, 0, 0, 0, 0, 4000, 4000], "▁  █"),
        ([1, 1, 1, 1, 2, 2, 4, 4], "▂▂▄█"),
    ],
)
def test_bars_show_where_the_most_is_and_hide_nothing(counts: list[int], shown: str) -> None:
    """Two counts a bar; one event among thousands is still seen."""
    assert bars(counts, 4) == shown


def test_the_next_minutes_are_added_up() -> None:
    """Within one minute, and within all that is known."""
    [topic] = Trend().add(reading(0, upcoming=[3, 0, 1, 0]))
    assert [topic.due_within(n) for n in (1, 3, 60)] == [3, 4, 4]


@pytest.mark.parametrize(
    ("width", "shown"),
    [(99, ["name", "a", "b", "bars"]), (15, ["name", "a", "bars"]), (3, ["name", "bars"])],
)
def test_a_narrow_terminal_gets_fewer_columns(width: int, shown: list[str]) -> None:
    """As few are left out as will do, the least important first; what must be there stays."""
    row = ["t", "1", "1,000", "####"]
    columns, rows = fitting(["name", "a", "b", "bars"], [row], ["b", "a"], width)
    assert columns == shown
    assert [len(cells) for cells in rows] == [len(shown)]
