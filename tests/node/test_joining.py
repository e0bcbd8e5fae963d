"""Small publishes of one write group become one record; nothing else about them changes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from chronosdb.node.partition import records
from chronosdb.node.partition.joining import JOINED_BYTES, Published, join_small
from chronosdb.node.partition.reader import Stored
from chronosdb.node.partition.records import Kind
from chronosdb.wal import Draft
from chronosdb.wire import EventBatch, Row, encode_batch
from chronosdb.wire import messages as m
from chronosdb.wire.errors import Conflict
from tests.support.in_process import topic_broker
from tests.support.partition_log import open_log
from tests.support.raw_client import event

#: A write group: how many events each publish has, and of what size; None: another record.
GROUPS = st.lists(
    st.none() | st.tuples(st.integers(1, 3), st.sampled_from([1, 100, JOINED_BYTES // 2])),
    max_size=12,
)
SETTLED = Draft(kind=Kind.SETTLE, ts_ms=5, body=(b"x",), epoch=7)


def written(group: Sequence[tuple[int, int] | None]) -> tuple[list[Draft], list[Published]]:
    """A group as it is decided, with offsets from 100 on."""
    drafts: list[Draft] = []
    published: list[Published] = []
    offset = 100
    for one in group:
        if one is None:
            drafts.append(SETTLED)
            continue
        count, size = one
        rows = [Row(b"e%d" % (offset + i), offset, b"", b"", bytes(size)) for i in range(count)]
        stored = Stored(EventBatch(encode_batch(rows)), offset, 5)
        drafts.append(records.publish(stored.batch, 5, 7))
        published.append((stored, stored.ids()))
        offset += count
    return drafts, published


def events(published: Sequence[Published]) -> list[tuple[int, bytes, int, bytes]]:
    """Every event: its offset, id, time and payload."""
    return [
        (stored.start + i, message_id, stored.batch.due[i], stored.batch.payload(i))
        for stored, _ in published
        for i, message_id in enumerate(stored.batch.ids())
    ]


@given(GROUPS)
def test_joining_changes_no_event_and_no_order(group: list[tuple[int, int] | None]) -> None:
    drafts, published = written(group)
    joined_drafts, joined = join_small(drafts, published)
    assert events(joined) == events(published)
    assert all(ids == stored.ids() for stored, ids in joined)
    bodies = [draft.body[0] for draft in joined_drafts if draft.kind == Kind.PUBLISH]
    assert bodies == [stored.batch.blob for stored, _ in joined]
    assert sum(draft.offsets for draft in joined_drafts) == sum(d.offsets for d in drafts)
    kinds = [draft.kind for draft in joined_drafts]
    assert kinds.count(Kind.SETTLE) == group.count(None)


@given(GROUPS)
def test_neighbours_stay_apart_only_where_they_are_too_large_together(
    group: list[tuple[int, int] | None],
) -> None:
    drafts, _ = join_small(*written(group))
    for first, second in pairwise(drafts):
        if first.kind == second.kind == Kind.PUBLISH:
            assert len(first.body[0]) + len(second.body[0]) > JOINED_BYTES


async def test_each_publish_of_a_joined_record_has_its_own_answer(clock: MockClock) -> None:
    """One that is refused, and one that is a duplicate, among those that are stored."""
    async with topic_broker(clock) as (node, client):
        due_ms = node.now_ms + 9000
        await client.publish(event("taken", due_ms, b"before"))
        ids = ["first", "a", "taken", "b", "a", "c"]
        requests = [await client.publish_later(event(name, due_ms)) for name in ids]
        answers: list[object] = []
        for request in requests:
            try:
                answer = await client.reply(request)
            except Conflict as error:
                answers.append(type(error))
            else:
                assert isinstance(answer, m.Published)
                answers.append((answer.first_offset, answer.duplicates))
        assert answers == [(1, b""), (2, b""), Conflict, (3, b""), (2, b"\x01"), (4, b"")]
        assert (await client.get("b")).offset == 3
        await node.stop()
        published = [r.offsets for r in open_log(node.disk).scan() if r.kind == Kind.PUBLISH]
        assert sum(published) == 5
        assert len(published) < 5
