from __future__ import annotations

import anyio
import pytest

from chronosdb.client.outbox import Outbox
from tests.client.virtual_time import both_backends


@both_backends
async def test_what_has_gathered_leaves_in_one_piece_and_in_order() -> None:
    outbox = Outbox()
    for data in (b"a", b"b", b"c"):
        outbox.push(data)
    assert await outbox.take(limit=100) == b"abc"


@pytest.mark.parametrize(("limit", "first"), [(1, b"aa"), (2, b"aa"), (3, b"aabb")])
@both_backends
async def test_a_piece_ends_when_it_is_large_enough(limit: int, first: bytes) -> None:
    outbox = Outbox()
    for data in (b"aa", b"bb", b"cc"):
        outbox.push(data)
    assert await outbox.take(limit) == first
    assert first + await outbox.take(limit=100) == b"aabbcc"


@both_backends
async def test_a_promised_frame_is_made_only_when_it_leaves() -> None:
    outbox = Outbox()
    words = [b"early"]
    outbox.push(lambda: b" ".join(words))
    words.append(b"late")
    assert await outbox.take(limit=100) == b"early late"


@both_backends
async def test_the_writer_waits_for_the_next_frame() -> None:
    outbox = Outbox()
    taken: list[bytes] = []

    async def write() -> None:
        taken.extend([await outbox.take(9), await outbox.take(9)])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        for data in (b"a", b"b"):
            await anyio.wait_all_tasks_blocked()
            outbox.push(data)
    assert taken == [b"a", b"b"]


@both_backends
async def test_idle_means_that_the_writer_has_come_back_for_more() -> None:
    outbox = Outbox()
    outbox.push(b"a")
    assert outbox.take_nowait() == b"a"
    with anyio.move_on_after(1) as early:
        await outbox.idle()
    assert early.cancelled_caught
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outbox.take, 9)
        await outbox.idle()
        outbox.push(b"b")


def test_nothing_waits_in_a_new_outbox() -> None:
    async def check() -> None:
        assert Outbox().take_nowait() == b""

    anyio.run(check)
