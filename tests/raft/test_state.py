"""The state machine: deterministic, idempotent, total, and equal after a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronosdb.raft import (
    NOBODY,
    BumpEpochs,
    ClusterView,
    Command,
    CreateTopic,
    DeleteGroup,
    DeleteTopic,
    NodeInfo,
    Noop,
    PutAssignment,
    PutClusterSettings,
    PutGroup,
    RegisterNode,
    Request,
    Result,
    SetReplication,
    Status,
    limits,
)
from chronosdb.raft.encoding import encode
from chronosdb.raft.state import ClusterState
from tests.raft.strategies import requests


class Machine:
    """A state with a client that numbers its requests and a log that numbers its entries."""

    def __init__(self) -> None:
        self.state = ClusterState()
        self.index = 0

    def do(self, command: Command, *, ts_ms: int = 1_000) -> Result:
        self.index += 1
        return self.state.apply(Request("c", self.index, ts_ms, command), self.index)


def _epochs(before: ClusterView, after: ClusterView) -> Iterator[tuple[int, int]]:
    """Of each partition that is in both."""
    for name, topic in before.topics.items():
        later = after.topics.get(name)
        if later is not None and later.id == topic.id:
            yield from zip(topic.epochs, later.epochs, strict=True)


def _copy(state: ClusterState) -> ClusterState:
    copy = ClusterState()
    copy.restore(msgpack.unpackb(msgpack.packb(state.to_plain())))
    return copy


@given(st.lists(requests(), max_size=60), st.data())
@settings(max_examples=60, deadline=None)
def test_replicas_agree_also_across_a_snapshot(log: list[Request], data: st.DataObject) -> None:
    """Same log, same results, same bytes; a replica may start from a snapshot at any point."""
    split = data.draw(st.integers(0, len(log)))
    one, two = ClusterState(), ClusterState()
    for index, request in enumerate(log, start=1):
        if index == split:
            two = _copy(two)
        blob = encode(request)
        assert one.apply_blob(blob, index) == two.apply_blob(blob, index)
    assert one.view == two.view
    assert msgpack.packb(one.to_plain()) == msgpack.packb(two.to_plain())


@given(st.lists(requests(), max_size=40))
@settings(max_examples=60, deadline=None)
def test_a_repeated_request_gets_its_first_answer_and_changes_nothing(log: list[Request]) -> None:
    """Exactly once by (client_id, seq), for every command."""
    state = ClusterState()
    for index, request in enumerate(log):
        first = state.apply(request, 2 * index + 1)
        view = state.view
        again = state.apply(request, 2 * index + 2)
        assert again == first
        assert state.view is view


@given(st.lists(requests(), max_size=60))
@settings(max_examples=60, deadline=None)
def test_invariants_hold_after_every_command(log: list[Request]) -> None:
    """Only `ok` changes the view; ids are unique; groups have topics; time never goes back."""
    state = ClusterState()
    for index, request in enumerate(log, start=1):
        before, clock_ms = state.view, state.clock_ms
        result = state.apply(request, index)
        view = state.view
        assert view is before or (result.ok and view.version == index)
        assert state.clock_ms >= clock_ms
        assert all(topic in view.topics for topic, _ in view.groups)
        assert len({t.id for t in view.topics.values()}) == len(view.topics)
        assert all(len(t.epochs) == len(t.leaders) >= 1 for t in view.topics.values())
        assert all(
            t.target(p) != t.replicas[p]
            for t in view.topics.values()
            for p in range(len(t.targets))
        )
        assert all(e <= f for e, f in _epochs(before, view))
        assert state._topics._partition_count == sum(t.partitions for t in view.topics.values())


def test_creating_a_topic_is_idempotent() -> None:
    """Equal is ok and not created; different is a conflict that names the difference."""
    m = Machine()
    first = m.do(CreateTopic("orders", 4, {"max_attempts": 3}))
    assert first == Result(Status.OK, created=True, id=1)
    again = m.do(CreateTopic("orders", 4, {"max_attempts": 3}))
    assert again == Result(Status.OK, created=False, id=1)
    other = m.do(CreateTopic("orders", 8, {"max_attempts": 3}))
    assert other.status is Status.CONFLICT
    assert "partitions=4" in other.detail
    assert "partitions=8" in other.detail
    assert m.do(CreateTopic("orders", 4)).status is Status.CONFLICT


def test_a_topic_id_is_never_reused() -> None:
    """Not even for the same name: logs on disk are found by id."""
    m = Machine()
    assert m.do(CreateTopic("orders", 1)).id == 1
    assert m.do(DeleteTopic("orders")).id == 1
    assert m.do(CreateTopic("orders", 1)).id == 2


def test_deleting_a_topic_takes_its_groups_along() -> None:
    """And only its own."""
    m = Machine()
    for topic in ("a", "b"):
        m.do(CreateTopic(topic, 1))
        m.do(PutGroup(topic, "g", "shared"))
    m.do(DeleteTopic("a"))
    assert set(m.state.view.groups) == {("b", "g")}
    assert m.do(DeleteTopic("a")).status is Status.NOT_FOUND


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "a/b", "é", "a\n", "x" * 250])
def test_bad_names_are_invalid(name: str) -> None:
    """For topics and groups alike; the message is short whatever the name."""
    m = Machine()
    m.do(CreateTopic("orders", 1))
    for result in (m.do(CreateTopic(name, 1)), m.do(PutGroup("orders", name, "shared"))):
        assert result.status is Status.INVALID
        assert len(result.detail) < 250


def test_the_longest_name_is_fine() -> None:
    """The bound itself is allowed."""
    assert Machine().do(CreateTopic("x" * 249, 1_024)).created


@pytest.mark.parametrize("partitions", [-1, 0, 1_025])
def test_bad_partition_counts_are_invalid(partitions: int) -> None:
    """The message says what is allowed."""
    result = Machine().do(CreateTopic("orders", partitions))
    assert result.status is Status.INVALID
    assert "between 1 and 1024" in result.detail


def test_an_unknown_setting_is_named_with_the_known_ones() -> None:
    """A typo is told, not swallowed."""
    result = Machine().do(CreateTopic("orders", 1, {"retention": 5}))
    assert result.status is Status.INVALID
    assert "'retention'" in result.detail
    assert "retention_ms" in result.detail


@pytest.mark.parametrize(
    "setting", [("replication", 0), ("replication", 8), ("max_attempts", 0), ("backoff_ms", -1)]
)
def test_a_setting_out_of_bounds_is_invalid(setting: tuple[str, int]) -> None:
    """Each key has its own bounds."""
    result = Machine().do(CreateTopic("orders", 1, dict([setting])))
    assert result.status is Status.INVALID
    assert setting[0] in result.detail


def test_a_group_needs_its_topic() -> None:
    """There is nothing to consume from."""
    assert Machine().do(PutGroup("orders", "g", "shared")).status is Status.NOT_FOUND


def test_putting_a_group_again_replaces_its_settings_but_not_its_mode() -> None:
    """The mode decides what positions mean to its members; it cannot change under them."""
    m = Machine()
    m.do(CreateTopic("orders", 1))
    assert m.do(PutGroup("orders", "g", "ordered")).created
    assert m.do(PutGroup("orders", "g", "ordered", {"max_attempts": 2})) == Result(Status.OK, id=1)
    assert m.state.view.groups["orders", "g"].settings == {"max_attempts": 2}
    assert m.do(PutGroup("orders", "g", "shared")).status is Status.CONFLICT
    assert m.do(PutGroup("orders", "g2", "random")).status is Status.INVALID
    assert m.do(PutGroup("orders", "g2", "shared", {"replication": 3})).status is Status.INVALID


def test_deleting_a_group() -> None:
    """Once; the second time there is none."""
    m = Machine()
    m.do(CreateTopic("orders", 1))
    m.do(PutGroup("orders", "g", "ordered"))
    assert m.do(DeleteGroup("orders", "g")).ok
    assert m.do(DeleteGroup("orders", "g")).status is Status.NOT_FOUND


def test_a_node_registers_moves_and_is_fenced_by_its_next_life() -> None:
    """A lower incarnation is somebody who should be dead."""
    m = Machine()
    assert m.do(RegisterNode("n1", "h:1", 1)).created
    assert m.do(RegisterNode("n1", "h:2", 2)) == Result(Status.OK)
    assert m.state.view.nodes["n1"] == NodeInfo("n1", "h:2", 2)
    assert m.do(RegisterNode("n1", "h:1", 1)).status is Status.CONFLICT
    assert m.do(RegisterNode("n 2", "h:1", 1)).status is Status.INVALID
    assert m.do(RegisterNode("n2", "", 1)).status is Status.INVALID
    assert m.do(RegisterNode("n2", "h:1", -1)).status is Status.INVALID


def test_partitions_are_spread_over_the_nodes() -> None:
    """Each on as many as the topic wants; all in sync, the first leads."""
    m = Machine()
    for node in ("n3", "n2", "n1"):
        m.do(RegisterNode(node, "h:1", 1))
    m.do(CreateTopic("a", 60, {"replication": 2}))
    topic = m.state.view.topics["a"]
    assert set(topic.leaders) == {"n1", "n2", "n3"}
    assert topic.epochs == (1,) * 60
    assert all(len(set(nodes)) == 2 for nodes in topic.replicas)
    assert topic.leaders == tuple(nodes[0] for nodes in topic.replicas)
    assert topic.isrs == topic.replicas
    assert topic.versions == (m.index,) * 60


def test_the_cluster_says_how_many_copies_a_topic_has_that_does_not() -> None:
    """Its own setting goes before; more than there are nodes cannot be had."""
    m = Machine()
    for node in ("n1", "n2"):
        m.do(RegisterNode(node, "h:1", 1))
    assert m.do(PutClusterSettings({"replication": 2})).ok
    m.do(CreateTopic("a", 1))
    m.do(CreateTopic("b", 1, {"replication": 1}))
    m.do(CreateTopic("c", 1, {"replication": 7}))
    topics = m.state.view.topics
    assert [len(topics[name].replicas[0]) for name in "abc"] == [2, 1, 2]
    assert m.state.view.settings == {"replication": 2}
    assert m.do(PutClusterSettings({"replication": 8})).status is Status.INVALID
    assert m.do(PutClusterSettings({"colour": 1})).status is Status.INVALID


def test_a_bump_raises_the_epochs_a_node_leads_and_takes_what_nobody_leads() -> None:
    """Others' partitions are left alone."""
    m = Machine()
    m.do(CreateTopic("early", 1))
    assert m.state.view.topics["early"].leaders == (NOBODY,)
    for node in ("n1", "n2"):
        m.do(RegisterNode(node, "h:1", 1))
    m.do(CreateTopic("both", 20))
    assert m.do(BumpEpochs("n1")).ok
    topics = m.state.view.topics
    assert (topics["early"].leaders, topics["early"].epochs) == (("n1",), (2,))
    assert topics["early"].replicas == topics["early"].isrs == (("n1",),)
    both = topics["both"]
    assert set(zip(both.leaders, both.epochs, strict=True)) == {("n1", 2), ("n2", 1)}
    assert m.do(BumpEpochs("n9")).status is Status.NOT_FOUND


def test_time_is_the_latest_any_command_carried() -> None:
    """A submitter whose clock is behind does not turn it back."""
    m = Machine()
    m.do(CreateTopic("a", 1), ts_ms=500)
    m.do(CreateTopic("b", 1), ts_ms=300)
    assert m.state.clock_ms == 500
    assert m.state.view.topics["b"].created_ms == 500


def test_the_number_of_topics_is_limited() -> None:
    """10,000 fit, one more does not, and a deletion makes room."""
    m = Machine()
    for n in range(limits.TOPICS_MAX):
        assert m.do(CreateTopic(f"t{n}", 1)).created
    assert m.do(CreateTopic("more", 1)).status is Status.LIMIT
    assert m.do(CreateTopic("t0", 1)).ok
    m.do(DeleteTopic("t0"))
    assert m.do(CreateTopic("more", 1)).created


def test_the_number_of_partitions_is_limited() -> None:
    """Also in all topics together."""
    m = Machine()
    for n in range(limits.PARTITIONS_MAX // 1_000):
        assert m.do(CreateTopic(f"t{n}", 1_000)).created
    assert m.do(CreateTopic("more", 1)).status is Status.LIMIT


@pytest.mark.parametrize(
    ("limit", "make"),
    [
        ("GROUPS_MAX", lambda n: PutGroup("orders", f"g{n}", "shared")),
        ("NODES_MAX", lambda n: RegisterNode(f"n{n}", "h:1", 1)),
    ],
)
def test_groups_and_nodes_are_limited(
    monkeypatch: pytest.MonkeyPatch, limit: str, make: Callable[[int], Command]
) -> None:
    """With the bound lowered to three, for speed."""
    monkeypatch.setattr(limits, limit, 3)
    m = Machine()
    m.do(CreateTopic("orders", 1))
    assert [m.do(make(n)).status for n in range(4)] == [Status.OK] * 3 + [Status.LIMIT]
    assert m.do(make(0)).ok


def test_a_bug_in_a_handler_is_an_answer_not_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bad entry must not stop every replica at every restart."""
    m = Machine()
    monkeypatch.setattr(m.state, "_dispatch", lambda _: 1 // 0)
    assert m.state.apply_blob(encode(Request("c", 1, 1, Noop())), 1).status is Status.INTERNAL


def test_running_out_of_memory_is_not_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """That would be one replica's answer alone."""
    m = Machine()

    def no_memory(_: Command) -> Result:
        raise MemoryError

    monkeypatch.setattr(m.state, "_dispatch", no_memory)
    with pytest.raises(MemoryError):
        m.state.apply_blob(encode(Request("c", 1, 1, Noop())), 1)


def test_members_are_assigned_by_who_knows_the_last_assignment() -> None:
    """Two who assign at the same time cannot both succeed."""
    m = Machine()
    m.do(CreateTopic("t", 3))
    m.do(PutGroup("t", "g", "ordered"))
    assert m.do(PutAssignment("t", "g", 0, ("m", "n"), (1, -1, 0))).ok
    group = m.state.view.groups["t", "g"]
    assert (group.generation, group.owners) == (m.index, ("n", "", "m"))
    assert m.do(PutAssignment("t", "g", 0, (), (-1, -1, -1))).status is Status.CONFLICT
    assert m.do(PutAssignment("t", "g", group.generation, (), (-1, -1, -1))).ok
    m.do(DeleteGroup("t", "g"))
    m.do(PutGroup("t", "g", "ordered"))
    assert m.state.view.groups["t", "g"].generation == 0
    assert m.do(PutAssignment("t", "g", 0, ("m",), (0, 0, 0))).ok
    assert m.state.view.groups["t", "g"].generation > group.generation


@pytest.mark.parametrize(
    ("members", "owners"),
    [
        (("m",), (0, 0)),
        (("m",), (0, 1, 0)),
        (("m",), (0, -2, 0)),
        (("m", "n"), (0, 0, 0)),
        (("n", "m"), (0, 1, 0)),
        (("m", "m"), (0, 1, 0)),
        (("",), (0, 0, 0)),
        (("m" * 129,), (0, 0, 0)),
    ],
)
def test_an_assignment_must_make_sense(members: tuple[str, ...], owners: tuple[int, ...]) -> None:
    """Every member owns something, every partition has a line."""
    m = Machine()
    m.do(CreateTopic("t", 3))
    m.do(PutGroup("t", "g", "ordered"))
    m.do(PutGroup("t", "s", "shared"))
    assert m.do(PutAssignment("t", "g", 0, members, owners)).status is Status.INVALID
    assert m.do(PutAssignment("t", "s", 0, ("m",), (0, 0, 0))).status is Status.INVALID
    assert m.do(PutAssignment("t", "x", 0, ("m",), (0, 0, 0))).status is Status.NOT_FOUND


def test_a_topic_can_want_another_number_of_copies() -> None:
    """What it has changes later; more than there are nodes it cannot want, fewer than it keeps not."""
    m = Machine()
    for node in ("n1", "n2"):
        m.do(RegisterNode(node, "h:1", 1))
    m.do(CreateTopic("t", 1, {"replication": 2, "min_insync": 2}))
    assert "min_insync=2 is more" in m.do(SetReplication("t", 1)).detail
    assert m.do(SetReplication("t", 3)).status is Status.LIMIT
    assert m.do(SetReplication("t", 0)).status is Status.INVALID
    assert m.do(SetReplication("u", 1)).status is Status.NOT_FOUND
    m.do(CreateTopic("v", 1, {"retention_ms": 5}))
    replicas = m.state.view.topics["v"].replicas
    assert m.do(SetReplication("v", 2)).ok
    assert m.state.view.topics["v"].settings == {"replication": 2, "retention_ms": 5}
    assert m.state.view.topics["v"].replicas == replicas


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"acks": 3}, "acks=3"),
        ({"min_insync": 0}, "min_insync=0"),
        ({"replication": 2, "min_insync": 3}, "min_insync=3 is more"),
        ({"min_insync": 2}, "min_insync=2 is more"),
    ],
)
def test_a_topic_cannot_keep_more_in_sync_than_it_has(
    settings: dict[str, int], problem: str
) -> None:
    """Nor answer in a way that nobody knows."""
    result = Machine().do(CreateTopic("t", 1, settings))
    assert result.status is Status.INVALID
    assert problem in result.detail


def test_an_image_of_version_three_is_read() -> None:
    """Then nothing moved, and no group was assigned."""
    m = Machine()
    m.do(RegisterNode("n1", "h:1", 1))
    m.do(CreateTopic("t", 2))
    m.do(PutGroup("t", "g", "ordered"))
    old = msgpack.unpackb(msgpack.packb(m.state.to_plain()))
    old[0] = 3
    old[5] = [topic[:-1] for topic in old[5]]
    old[6] = [group[:-2] for group in old[6]]
    read = ClusterState()
    read.restore(old)
    assert read.view == m.state.view


def test_another_version_of_the_image_is_refused() -> None:
    """A downgrade fails loudly."""
    with pytest.raises(ValueError, match="state version 99"):
        ClusterState().restore([99, *ClusterState().to_plain()[1:]])
