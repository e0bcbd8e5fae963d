"""Retries: due by time, handed out by position."""

from __future__ import annotations

import pytest

from chronosdb.sched import Retry, RetryQueue

END = 100


def queue_of(**due_ms: int) -> RetryQueue:
    """Retries at attempt 2 by position: `p7=50` is position 7 due at 50 ms."""
    queue = RetryQueue()
    for name, due in due_ms.items():
        queue.put(int(name[1:]), Retry(2, due))
    return queue


def test_due_ones_come_in_position_order_whatever_their_times() -> None:
    queue = queue_of(p7=10, p3=20, p5=30, p1=99)
    assert queue.take(9, END, 30) == [(3, 2), (5, 2), (7, 2)]
    assert queue.next_due_ms() == 99


def test_none_is_early() -> None:
    queue = queue_of(p7=10)
    assert not queue.has_due(END, 9)
    assert queue.take(9, END, 9) == []
    assert queue.take(9, END, 10) == [(7, 2)]
    assert len(queue) == 0


def test_those_at_or_above_the_end_wait_for_it() -> None:
    queue = queue_of(p7=10, p8=10)
    assert queue.take(9, 8, 10) == [(7, 2)]
    assert not queue.has_due(8, 10)
    assert queue.take(9, 9, 10) == [(8, 2)]


def test_one_seen_due_stays_due_when_the_clock_steps_back() -> None:
    queue = queue_of(p7=10, p8=10)
    assert queue.take(1, END, 10) == [(7, 2)]
    assert queue.take(1, END, 0) == [(8, 2)]


@pytest.mark.parametrize("seen_due", [False, True])
@pytest.mark.parametrize("stop", [9, 1_000_000])
def test_dropped_ones_never_come_out(stop: int, seen_due: bool) -> None:
    queue = queue_of(p7=10, p8=10, p9=10, p6=20)
    assert queue.has_due(END, 10 if seen_due else 9) == seen_due
    queue.drop(7, stop)
    assert queue.next_due_ms() == (10 if stop == 9 and not seen_due else 20)
    assert [position for position, _ in queue.take(9, END, 20)] == [6] + [9] * (stop == 9)


def test_a_position_queued_again_has_its_new_time() -> None:
    queue = queue_of(p7=10)
    assert queue.has_due(END, 10)
    queue.drop(7, 8)
    queue.put(7, Retry(3, 50))
    assert queue.take(9, END, 49) == []
    assert queue.take(9, END, 50) == [(7, 3)]


def test_a_position_is_queued_once() -> None:
    queue = queue_of(p7=10)
    with pytest.raises(AssertionError):
        queue.put(7, Retry(3, 50))


def test_the_view_shows_all_and_changes_nothing() -> None:
    queue = queue_of(p7=10, p8=90)
    queue.has_due(END, 10)
    assert dict(queue.view()) == {7: Retry(2, 10), 8: Retry(2, 90)}
    with pytest.raises(TypeError):
        queue.view()[9] = Retry(1, 1)  # type: ignore[index]
