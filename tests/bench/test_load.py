"""The events that are published."""

from __future__ import annotations

from dataclasses import replace

from bench.filling import slices
from bench.load import Load
from bench.peers.item import HEAD, batches
from bench.quantiles import curve, spread

LOAD = Load("bench", 25, due_ms=1000, span_ms=10, batch=10)


def test_slices_hold_the_same_events_as_the_whole() -> None:
    """Each once, in order."""
    parts = list(slices(LOAD, 10))
    ids = [event.message_id for part in parts for batch in part.batches() for event in batch]
    whole = [event.message_id for batch in LOAD.batches() for event in batch]
    assert ids == whole
    assert [part.count for part in parts] == [10, 10, 5]


def test_a_peer_gets_events_of_the_same_number_size_and_due_times() -> None:
    """And each payload says which event it is."""
    items = [one for batch in batches(LOAD) for one in batch]
    ours = [event for batch in LOAD.batches() for event in batch]
    assert [len(one.payload) for one in items] == [len(event.payload) for event in ours]
    assert [HEAD.unpack_from(one.payload) for one in items] == [
        (number, one.due_ms) for number, one in enumerate(items)
    ]
    assert all(1000 <= one.due_ms < 1010 for one in items)
    assert [len(batch) for batch in batches(LOAD)] == [10, 10, 5]


def test_what_is_due_at_once_has_no_due_time() -> None:
    """For a peer that is 0."""
    items = [one for batch in batches(replace(LOAD, due_ms=None)) for one in batch]
    assert {one.due_ms for one in items} == {0}


def test_the_first_ids_are_those_of_the_first_events() -> None:
    """Never more than there are."""
    whole = [event.message_id for batch in LOAD.batches() for event in batch]
    assert LOAD.message_ids(3) == whole[:3]
    assert LOAD.message_ids(100) == whole


def test_the_curve_of_a_distribution_holds_what_tables_show() -> None:
    """And does not fall."""
    values = [float(number) for number in range(1000)]
    points = curve(values)
    assert points.items() >= spread(values).items()
    heights = [points[f"p{percent} ms"] for percent in (1, 50, 99, 99.9)]
    assert heights == [10, 500, 990, 999]
