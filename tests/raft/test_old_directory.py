"""A directory that version 0.1, which knew one node only, wrote in 2026: it opens, and goes on."""

from __future__ import annotations

from pathlib import Path

from chronosdb.raft import BumpEpochs, CreateTopic, NodeState
from tests.raft.fake_storage import MemoryStorage, _Inode
from tests.raft.harness import Single

DIRECTORY = Path(__file__).parent / "written_by_0_1"


def _opened() -> Single:
    storage = MemoryStorage()
    for name in ("ballot", "journal", "snapshot"):
        storage.files[f"d/{name}"] = _Inode((DIRECTORY / name).read_bytes())
    return Single(storage, client="new")


def test_everything_is_there() -> None:
    """What the snapshot has, and what only the journal has."""
    view = _opened().replica.view
    assert set(view.topics) == {"orders", "late"}
    orders = view.topics["orders"]
    assert orders.leaders == ("n1",) * 3
    assert orders.epochs == (3,) * 3
    assert orders.settings == {"max_attempts": 4, "replication": 1}
    assert view.groups["orders", "billing"].settings == {"ack_timeout_ms": 500}
    assert view.schedules["daily"].generation == 9
    assert view.next_topic_id == 4
    node = view.nodes["n1"]
    assert (node.address, node.incarnation, node.state) == ("h:9001", 2, NodeState.ALIVE)


def test_its_partitions_are_where_they_were() -> None:
    """Then nobody spoke of replicas: the leader was the only one."""
    for topic in _opened().replica.view.topics.values():
        assert topic.replicas == topic.isrs == tuple((leader,) for leader in topic.leaders)


def test_it_goes_on() -> None:
    """Its one node votes, and may start again."""
    single = _opened()
    assert single.replica.voters == ("n1",)
    assert single.do(CreateTopic("new", 2)).created
    assert single.do(BumpEpochs("n1")).ok
    assert single.replica.view.topics["new"].epochs == (2, 2)
    assert single.replica.view.topics["orders"].epochs == (4, 4, 4)


def test_a_request_of_then_is_answered_as_then() -> None:
    """Clients are remembered across the versions."""
    single = _opened()
    single.client, single.seq = "old", 1
    assert single.do(CreateTopic("orders", 3)).created
