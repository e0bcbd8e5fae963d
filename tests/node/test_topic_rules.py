"""What may be asked of a new topic, alone and in a cluster."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chronosdb.node.topic_rules import check_alone, with_copies
from chronosdb.raft import ClusterView, CreateTopic, NodeInfo, NodeState, TopicInfo
from chronosdb.wire.errors import InvalidArgument


def cluster(*states: NodeState, topic: TopicInfo | None = None) -> ClusterView:
    """A cluster whose nodes are in these states."""
    nodes = {f"n{i}": NodeInfo(f"n{i}", f"n{i}:1", 1, state=s) for i, s in enumerate(states)}
    topics = {} if topic is None else {topic.name: topic}
    return ClusterView(1, topics, {}, nodes, 2, {})


def topic(**settings: int) -> TopicInfo:
    return TopicInfo("t", 1, settings, 0, ("n0",), (1,), (("n0",),), (("n0",),), (1,))


def copies(view: ClusterView, default: int = 0, **settings: int) -> int:
    """How many copies a topic is asked for with."""
    asked = with_copies(CreateTopic("t", 1, settings), view, default)
    assert {k: v for k, v in asked.settings.items() if k != "replication"} == {
        k: v for k, v in settings.items() if k != "replication"
    }
    return asked.settings["replication"]


ALIVE, FENCED, LEFT = NodeState.ALIVE, NodeState.FENCED, NodeState.LEFT


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([ALIVE], 1),
        ([ALIVE] * 2, 2),
        ([ALIVE] * 3, 3),
        ([ALIVE] * 5, 3),
        ([ALIVE, ALIVE, FENCED], 3),
        ([ALIVE, ALIVE, LEFT], 2),
    ],
)
def test_three_copies_are_made_where_there_are_three_nodes(
    states: list[NodeState], expected: int
) -> None:
    """One that is away counts: it comes back. One that was removed does not."""
    assert copies(cluster(*states)) == expected


def test_the_nodes_own_default_goes_before() -> None:
    """And what the client says before both."""
    view = cluster(*[ALIVE] * 3)
    assert copies(view, default=2) == 2
    assert copies(view, default=2, replication=1) == 1


def test_who_does_not_say_wants_what_there_is() -> None:
    """A topic is confirmed, not contradicted, also when the default has changed since."""
    view = cluster(*[ALIVE] * 3, topic=topic(replication=1))
    assert copies(view) == 1
    older = replace(view, topics={"t": topic()})
    assert copies(older, default=2) == 2


def test_more_copies_than_live_nodes_are_refused() -> None:
    """By the number of nodes, and what to do."""
    with pytest.raises(InvalidArgument, match="replication is 3, but 2 nodes are alive"):
        copies(cluster(ALIVE, ALIVE, FENCED), replication=3)


def test_an_existing_topic_is_confirmed_while_a_node_is_away() -> None:
    """It has its copies already."""
    view = cluster(ALIVE, ALIVE, FENCED, topic=topic(replication=3))
    assert copies(view, replication=3) == 3


def test_more_in_sync_than_copies_is_refused() -> None:
    """Nothing could ever be published."""
    with pytest.raises(InvalidArgument, match="min_insync is 2, more than there are copies"):
        copies(cluster(*[ALIVE] * 3), replication=1, min_insync=2)


@pytest.mark.parametrize("setting", ["replication", "min_insync"])
def test_a_node_alone_promises_no_copies(setting: str) -> None:
    """It refuses instead of noting."""
    check_alone({setting: 1})
    with pytest.raises(InvalidArgument, match=f"{setting}: this is a single node"):
        check_alone({setting: 2})
