"""Nodes as replicated state: admitted, enrolled, fenced, drained, and removed for good."""

from __future__ import annotations

import msgpack
import pytest

from chronosdb.raft import (
    AdmitNode,
    BeginLife,
    BumpEpochs,
    ChangeVoters,
    CreateTopic,
    DeleteTopic,
    EnrollNode,
    NodeInfo,
    NodeState,
    RegisterNode,
    RemoveNode,
    SetNodeState,
    Status,
)
from chronosdb.raft.nodes import Nodes
from tests.raft.test_state import Machine


def test_a_node_that_is_admitted_gets_nothing_before_it_was_seen() -> None:
    """It is fenced until somebody says that it is alive."""
    m = Machine()
    assert m.do(AdmitNode("n1", "h:9001", "r1")).created
    m.do(CreateTopic("early", 1))
    assert m.state.view.topics["early"].replicas == ((),)
    m.do(RegisterNode("n1", "h:9000", 1))
    assert m.do(SetNodeState("n1", 1, "alive")).ok
    m.do(CreateTopic("t", 1))
    assert m.state.view.topics["t"].replicas == (("n1",),)
    assert m.state.view.nodes["n1"] == NodeInfo("n1", "h:9000", 1, "h:9001", "r1")


@pytest.mark.parametrize("state", ["fenced", "draining"])
def test_who_is_fenced_or_drained_gets_nothing_new(state: str) -> None:
    """What it has, it keeps."""
    m = Machine()
    for node in ("n1", "n2"):
        m.do(RegisterNode(node, "h:1", 1))
    m.do(CreateTopic("old", 1, {"replication": 2}))
    assert m.do(SetNodeState("n2", 1, state)).ok
    m.do(CreateTopic("new", 1, {"replication": 2}))
    topics = m.state.view.topics
    assert set(topics["old"].replicas[0]) == {"n1", "n2"}
    assert topics["new"].replicas == (("n1",),)


def test_a_node_of_a_cluster_begins_fenced() -> None:
    """Until the controller has heard it; one that was alive stays so for as long as it is heard."""
    m = Machine()
    assert m.do(BeginLife("n1", "h:1", 1)).created
    states = [m.state.view.nodes["n1"].state]
    m.do(SetNodeState("n1", 1, "alive"))
    assert m.do(BeginLife("n1", "h:1", 2)).ok
    states.append(m.state.view.nodes["n1"].state)
    assert states == [NodeState.FENCED, NodeState.ALIVE]
    assert m.do(BeginLife("n1", "", 3)).status is Status.INVALID


def test_a_state_is_for_one_life_of_a_node() -> None:
    """Who fences a node that has started again meanwhile is too late."""
    m = Machine()
    m.do(RegisterNode("n1", "h:1", 2))
    assert m.do(SetNodeState("n1", 1, "fenced")).status is Status.CONFLICT
    assert m.do(SetNodeState("n9", 1, "fenced")).status is Status.NOT_FOUND
    assert m.do(SetNodeState("n1", 2, "left")).status is Status.INVALID
    assert m.state.view.nodes["n1"].state is NodeState.ALIVE


def test_a_directory_is_for_life() -> None:
    """Another one under the same name has lost its votes, and is refused."""
    m = Machine()
    assert m.do(EnrollNode("n1", "h:1", "one")).ok
    assert m.do(EnrollNode("n1", "h:2", "one")).ok
    assert m.state.view.nodes["n1"].peer_address == "h:2"
    result = m.do(EnrollNode("n1", "h:1", "two"))
    assert result.status is Status.CONFLICT
    assert "come back under another name" in result.detail
    assert m.do(EnrollNode("n2", "h:1", "not a birth")).status is Status.INVALID


def test_a_removed_node_never_comes_back() -> None:
    """Whatever is said of it; removing it again is nothing new."""
    m = Machine()
    m.do(RegisterNode("n1", "h:1", 1))
    assert m.do(RemoveNode("n1")).ok
    for command in (
        RegisterNode("n1", "h:1", 2),
        AdmitNode("n1", "h:1", ""),
        EnrollNode("n1", "h:1", "one"),
        SetNodeState("n1", 1, "alive"),
    ):
        assert m.do(command).status is Status.CONFLICT
    assert m.do(BumpEpochs("n1")).status is Status.NOT_FOUND
    assert m.do(RemoveNode("n1")).ok
    assert m.state.view.nodes["n1"].state is NodeState.LEFT


def test_a_node_that_never_enrolled_can_be_shut_out() -> None:
    """A first voter that died before it was heard of."""
    m = Machine()
    assert m.do(RemoveNode("n1")).created
    assert m.do(EnrollNode("n1", "h:1", "one")).status is Status.CONFLICT


def test_a_node_that_is_needed_cannot_be_removed() -> None:
    """First its vote goes, then what it holds."""
    m = Machine()
    m.do(RegisterNode("n1", "h:1", 1))
    m.do(ChangeVoters(("n1", "n2"), 0))
    m.do(CreateTopic("t", 1))
    assert "take its vote first" in m.do(RemoveNode("n1")).detail
    m.do(ChangeVoters(("n2",), m.state.view.voters_base))
    assert "holds partitions of topic 't'" in m.do(RemoveNode("n1")).detail
    m.do(DeleteTopic("t"))
    assert m.do(RemoveNode("n1")).ok


def test_nodes_survive_a_snapshot_and_those_of_old_ones_are_read() -> None:
    """Up to image version 2 a node had three fields, and was alive."""
    nodes = Nodes()
    nodes.apply(AdmitNode("n1", "h:1", "r1"))
    nodes.apply(EnrollNode("n1", "h:1", "one"))
    plain = msgpack.unpackb(msgpack.packb(nodes.to_plain()))
    assert Nodes.from_plain(plain).view == nodes.view
    assert Nodes.from_plain([["n1", "h:1", 3]]).view == {"n1": NodeInfo("n1", "h:1", 3)}
