"""Pages of metrics, put together."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from chronosdb.node.workers.exposition import merged

PAGE = """\
# HELP fired_total Events that fired.
# TYPE fired_total counter
fired_total{topic="a b{c}"} 3.0
# HELP lag Lag.
# TYPE lag gauge
lag 0.5
"""


def test_each_sample_says_whose_it_is() -> None:
    """Labels and values stay as they were."""
    families = list(text_string_to_metric_families(merged({"worker-1": PAGE, "worker-2": PAGE})))
    samples = [(s.name, s.labels, s.value) for family in families for s in family.samples]
    assert samples == [
        ("fired_total", {"worker": "worker-1", "topic": "a b{c}"}, 3.0),
        ("fired_total", {"worker": "worker-2", "topic": "a b{c}"}, 3.0),
        ("lag", {"worker": "worker-1"}, 0.5),
        ("lag", {"worker": "worker-2"}, 0.5),
    ]


def test_a_metric_that_one_worker_has_stands_once() -> None:
    """With its help, which nobody repeats."""
    more = PAGE + "# HELP led Led.\n# TYPE led gauge\nled 1.0\n"
    text = merged({"worker-1": PAGE, "worker-2": more})
    assert text.count("# HELP lag Lag.") == 1
    assert text.endswith('# HELP led Led.\n# TYPE led gauge\nled{worker="worker-2"} 1.0\n')


def test_no_pages_are_an_empty_page() -> None:
    """While all workers start."""
    assert merged({}) == ""
