from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from chronosdb.client import Seams
from chronosdb.client.ids import IdMaker


def maker(clock_ms: Iterator[int], fill: bytes = b"\x00") -> IdMaker:
    return IdMaker(Seams(now_ms=lambda: next(clock_ms), random_bytes=lambda n: fill * n))


@given(
    st.lists(st.tuples(st.integers(0, 2**42), st.integers(0, 50)), min_size=1, max_size=10),
    st.sampled_from([b"\x00", b"\xff"]),
)
def test_ids_strictly_increase_whatever_the_clock_does(
    draws: list[tuple[int, int]], fill: bytes
) -> None:
    """As text too, over repeated randomness, clock steps back, and an overflow of the random part."""
    ids = maker(iter([now_ms for now_ms, _ in draws]), fill)
    made = [name for _, count in draws for name in ids.take(count)]
    assert made == sorted(set(made))
    assert {len(name) for name in made} <= {32}


def test_an_id_begins_with_the_time() -> None:
    [name] = maker(iter([1_700_000_000_000]), b"\xab").take(1)
    assert name == f"{1_700_000_000_000:012x}" + "ab" * 10


def test_two_clients_of_one_moment_differ() -> None:
    ids = {IdMaker(Seams(now_ms=lambda: 5)).take(1)[0] for _ in range(100)}
    assert len(ids) == 100
