"""One ring of the wheel."""

from __future__ import annotations

import numpy as np
import pytest

from chronosdb.sched.level import Level, unpacked


def packed(*timers: tuple[int, int]) -> bytes:
    return np.array(timers, dtype=np.int64).tobytes()


def test_first_is_the_lowest_occupied_slot_until_it_is_popped() -> None:
    level = Level(0, tail_max=9)
    for occupied in (255, 0, 7):
        level.append(occupied, packed((occupied, 1)))
    popped = []
    while (slot := level.first()) is not None:
        popped.append(slot)
        level.pop(slot)
    assert popped == [0, 7, 255]
    assert not level


def test_a_slot_gives_back_its_timers_in_the_order_in_which_they_came() -> None:
    level = Level(8, tail_max=9)
    level.append(3, packed((0x301, 1)))
    level.append(3, packed((0x300, 2), (0x3FF, 3)))
    assert level.pop(3)[0] == packed((0x301, 1), (0x300, 2), (0x3FF, 3))
    assert level.nbytes == 0


def test_a_tail_that_outgrows_its_limit_is_emptied_into_a_finer_ring() -> None:
    level = Level(8, tail_max=2)
    level.append(3, packed((0x301, 1), (0x300, 2)))
    level.append(3, packed((0x301, 3)))
    level.append(3, packed((0x3FF, 4)))
    tail, ring = level.pop(3)
    assert tail == packed((0x3FF, 4))
    assert ring is not None
    assert ring.shift == 0
    assert [ring.pop(slot)[0] for slot in (0, 1)] == [
        packed((0x300, 2)),
        packed((0x301, 1), (0x301, 3)),
    ]
    assert not ring


def test_one_millisecond_holds_any_number() -> None:
    level = Level(0, tail_max=2)
    level.place(np.full(100, 7), np.arange(100))
    tail, ring = level.pop(7)
    assert ring is None
    assert unpacked(tail)[1].tolist() == list(range(100))


def test_popping_a_slot_that_is_empty_gives_nothing() -> None:
    tail, ring = Level(8, tail_max=1).pop(0)
    assert not tail
    assert ring is None


def test_there_is_no_slot_256() -> None:
    with pytest.raises(AssertionError):
        Level(0, tail_max=1).append(256, packed((0, 0)))
