"""A replay goes on at the next leader: nothing is missing, nothing comes twice."""

from __future__ import annotations

import anyio
import pytest

from chronosdb.client import NotFound, NotLeader
from chronosdb.wire import messages as m
from tests.client.fake_cluster import FakeCluster, cluster_and_client
from tests.client.fake_node import fails_with
from tests.client.test_replay import CUT, cut, ends, frame, opens
from tests.client.virtual_time import both_backends


def asked(cluster: FakeCluster, name: str) -> list[tuple[int, m.ReplayPlace | None]]:
    """The partitions that a node was asked to replay, and from where."""
    return [(message.partition, message.place) for message in cluster[name].got(m.Replay)]


@both_backends
async def test_each_partition_is_replayed_by_its_leader() -> None:
    async with cluster_and_client() as (cluster, db):
        for name, offsets in (("n1", [0, 3]), ("n2", [1, 4]), ("n3", [2, 5])):
            cluster[name].script(m.Replay, opens(frame(offsets), ends()))
        found = [event.offset async for event in db.replay("orders", by="published")]
        assert found == [0, 1, 2, 3, 4, 5]
        assert [asked(cluster, name) for name in cluster.nodes] == [
            [(0, None)],
            [(1, None)],
            [(2, None)],
        ]


@both_backends
async def test_it_goes_on_where_the_old_leader_was_killed() -> None:
    async with (
        cluster_and_client(partitions=1) as (cluster, db),
        anyio.create_task_group() as tasks,
    ):
        cluster["n1"].script(m.Replay, opens(frame([0, 1])))
        cluster["n2"].script(m.Replay, opens(frame([2, 3]), ends()))

        async def elect() -> None:
            await anyio.sleep(2)
            cluster.fail_over("n1", "n2")

        replay = db.replay("orders")
        found = [(await anext(replay)).offset]
        cluster.kill("n1")
        tasks.start_soon(elect)
        found += [event.offset async for event in replay]
        assert found == [0, 1, 2, 3]
        assert asked(cluster, "n2") == [(0, m.ReplayPlace(CUT, 2, 0))]


@both_backends
async def test_it_goes_on_where_a_leader_gave_way() -> None:
    """The node lives and ends the stream; the others are not disturbed."""
    async with cluster_and_client() as (cluster, db):
        moved = NotLeader("moved", details={"leader": "n3:9000"})
        cluster["n1"].script(m.Replay, opens(frame([0, 1]), ends(moved)), fails_with(moved))
        cluster["n2"].script(m.Replay, opens(frame([10]), ends()))
        cluster["n3"].script(m.Replay, opens(frame([20]), ends()), opens(frame([2]), ends()))
        replay = db.replay("orders", by="published")
        found = [(await anext(replay)).offset]
        cluster.lead("orders", 0, "n3", tell=False)
        found += [event.offset async for event in replay]
        assert found == [0, 1, 2, 10, 20]
        assert asked(cluster, "n3")[1] == (0, m.ReplayPlace(CUT, 2, 0))
        assert len(asked(cluster, "n2")) == 1


@both_backends
async def test_a_token_of_one_leader_is_good_at_the_next() -> None:
    async with cluster_and_client(partitions=1) as (cluster, db):
        cluster["n1"].script(m.Replay, opens(frame([0, 1])))
        replay = db.replay("orders")
        token = (await anext(replay)).token
        await replay.aclose()
        cluster.lead("orders", 0, "n2")
        cluster["n2"].script(m.Replay, opens(frame([1]), ends()))
        assert [event.offset async for event in db.replay("orders", token=token)] == [1]
        assert asked(cluster, "n2") == [(0, m.ReplayPlace(CUT, 1, 0))]


@both_backends
async def test_a_leader_that_lacks_the_topic_is_only_late_but_one_that_lacks_the_events_is_not() -> (
    None
):
    async with cluster_and_client() as (cluster, db):
        late = fails_with(NotFound("no topic orders"))
        cluster["n2"].script(m.Replay, late, cut, opens(frame([0]), ends()))
        replay = db.replay("orders", partition=1)
        assert [event.offset async for event in replay] == [0]
        gone = NotFound("deleted", details={"offset": 7})
        cluster["n2"].script(m.Replay, fails_with(gone))
        with pytest.raises(NotFound, match="deleted"):
            await anext(db.replay("orders", partition=1))
