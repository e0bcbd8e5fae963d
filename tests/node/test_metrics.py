"""The page of `/metrics`, from readings made by hand."""

from __future__ import annotations

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from chronosdb.node.observe.metrics import OTHER_TOPICS, TOPICS_MAX, page
from chronosdb.node.observe.readings import Reading
from chronosdb.node.partition.records import SettleReason


def samples(readings: list[Reading], name: str) -> dict[tuple[str, ...], float]:
    """The samples of one name, by their label values in the order of the labels' names."""
    text = page(readings, []).decode()
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def reading(topic: str, *, published: int = 0, pending: int = 0, lag: int = 0) -> Reading:
    """A topic of one partition with one group."""
    one = Reading(topic, partitions=1, pending=pending, lag={"g": lag})
    one.counters.published = published
    return one


def test_the_topics_beyond_the_limit_are_added_up() -> None:
    """However many topics there are, the page has a bounded number of lines."""
    topics = [reading(f"t{n}", published=1, pending=2, lag=n) for n in range(TOPICS_MAX + 7)]
    published = samples(topics, "chronosdb_events_published_total")
    assert len(published) == TOPICS_MAX + 1
    assert published["t0",] == 1
    assert published[OTHER_TOPICS,] == 7
    assert samples(topics, "chronosdb_events_pending")[OTHER_TOPICS,] == 14
    # The furthest behind, not the sum of groups that happen to share a name.
    assert samples(topics, "chronosdb_group_lag_events")[OTHER_TOPICS,] == TOPICS_MAX + 6


def test_lateness_is_given_in_seconds_and_cumulative() -> None:
    """Buckets grow up to +Inf, which is the count."""
    one = reading("t")
    one.counters.lateness_ms.add_many(np.array([0, 1, 2, 40, 5_000_000]))
    buckets = samples([one], "chronosdb_delivery_lateness_seconds_bucket")
    assert {bound: buckets[bound, "t"] for bound in ("0.001", "0.002", "0.05", "3600.0")} == {
        "0.001": 2,
        "0.002": 3,
        "0.05": 4,
        "3600.0": 4,
    }
    assert buckets["+Inf", "t"] == 5
    assert samples([one], "chronosdb_delivery_lateness_seconds_sum") == {("t",): 5000.043}


def test_what_has_not_happened_yet_is_shown_as_zero() -> None:
    """An alert on the first dead letter needs the number before it."""
    settled = samples([reading("t")], "chronosdb_deliveries_settled_total")
    assert settled == {(reason.name.lower(), "t"): 0 for reason in SettleReason}
    refused = samples([reading("t")], "chronosdb_publishes_refused_total")
    assert refused == {("conflict", "t"): 0, ("overloaded", "t"): 0}


def test_disk_metrics_are_of_the_whole_node() -> None:
    """Logs share a disk, so there is one histogram for all."""
    topics = [reading("a"), reading("b")]
    for one in topics:
        one.counters.group_bytes.add(300)
    assert samples(topics, "chronosdb_wal_group_bytes_sum") == {(): 600}
