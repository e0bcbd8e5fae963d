"""Three voters over an in-memory network: the seams fit, the guards work, nothing acked is lost."""

from __future__ import annotations

import random
from functools import partial

import pytest

from chronosdb.raft import (
    BadMessageError,
    CreateTopic,
    Options,
    Outcome,
    OutcomeUnknownError,
    Replica,
    Request,
    Result,
)
from tests.raft.fake_storage import MemoryStorage
from tests.raft.harness import Cluster

NAMES = ("a", "b", "c")


def _storages() -> dict[str, MemoryStorage]:
    return {name: MemoryStorage() for name in NAMES}


def _name(cluster: Cluster, replica: Replica) -> str:
    return next(name for name, r in cluster.replicas.items() if r is replica)


def test_one_leads_and_all_follow() -> None:
    """An election ends with one leader, everyone ready, and commands on every node."""
    cluster = Cluster(dict(_storages()))
    cluster.run(5)
    assert cluster.do(CreateTopic("orders", 3)).created
    leader = _name(cluster, cluster.leader())
    for replica in cluster.replicas.values():
        assert replica.ready
        assert replica.leader == leader
        assert replica.view == cluster.leader().view
        assert "orders" in replica.view.topics


def test_a_lost_leader_is_replaced_and_comes_back_level() -> None:
    """Acked before the crash is there after it, also on the node that crashed."""
    storages = _storages()
    cluster = Cluster(dict(storages))
    cluster.run(5)
    cluster.do(CreateTopic("before", 1))
    old = _name(cluster, cluster.leader())
    cluster.stop(old)
    cluster.run(6)
    assert "before" in cluster.leader().view.topics
    cluster.do(CreateTopic("meanwhile", 1))
    cluster._storages[old] = storages[old].after_power_cut()
    cluster.start(old)
    cluster.run(3)
    assert cluster.replicas[old].view == cluster.leader().view
    assert set(cluster.leader().view.topics) == {"before", "meanwhile"}


def test_a_follower_far_behind_gets_a_snapshot() -> None:
    """What it needs was compacted away; the snapshot brings it level, durably."""
    storages = _storages()
    options = Options(compact_entries=5)
    cluster = Cluster(dict(storages), options)
    cluster.run(5)
    behind = next(name for name, r in cluster.replicas.items() if not r.is_leader)
    cluster.stop(behind)
    for n in range(20):
        cluster.do(CreateTopic(f"t{n}", 1))
    survivor = storages[behind].after_power_cut()
    cluster._storages[behind] = survivor
    cluster.start(behind)
    cluster.run(3)
    assert len(cluster.replicas[behind].view.topics) == 20
    assert "d/snapshot" in survivor.files
    for n in range(3):
        cluster.do(CreateTopic(f"u{n}", 1))
    assert cluster.replicas[behind].view == cluster.leader().view


def test_a_leader_cut_off_says_that_the_outcome_is_unknown() -> None:
    """No waiter is left in silence when leadership is lost."""
    cluster = Cluster(dict(_storages()))
    cluster.run(5)
    leader = cluster.leader()
    cluster.network.cut.add(_name(cluster, leader))
    outcomes: list[Outcome] = []
    leader.submit(Request("c", 1, 1, CreateTopic("orders", 1)), outcomes.append)
    cluster.run(4)
    assert isinstance(outcomes[0], OutcomeUnknownError)


def test_bad_messages_change_nothing() -> None:
    """Nonsense is refused at the door, and the replica works on."""
    cluster = Cluster(dict(_storages()))
    cluster.run(5)
    leader = cluster.leader()
    name = _name(cluster, leader)
    peer = next(n for n in NAMES if n != name)
    for message in ({}, {"type": "apply_command", "command": b"\x00"}, {"type": "timeout_now"}):
        with pytest.raises(BadMessageError):
            leader.deliver(peer, message)
    assert cluster.do(CreateTopic("orders", 1)).created


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_crashes_in_any_order_lose_nothing_acknowledged(seed: int) -> None:
    """Random power cuts of one node at a time, with compaction; then all agree on all acked."""
    rng = random.Random(seed)
    storages = _storages()
    cluster = Cluster(dict(storages), Options(compact_entries=8))
    outcomes: list[tuple[str, Outcome]] = []
    for n in range(60):
        if n % 6 == 5:
            victim = rng.choice(NAMES)
            cluster.stop(victim)
            cluster.run(rng.uniform(0.0, 4.0))
            storages[victim] = storages[victim].after_power_cut()
            cluster._storages[victim] = storages[victim]
            cluster.start(victim)
        _submit_everywhere(cluster, n, outcomes)
        cluster.run(rng.uniform(0.0, 1.5))
    cluster.run(10)
    acked = {name for name, outcome in outcomes if isinstance(outcome, Result)}
    assert len(acked) > 10
    for replica in cluster.replicas.values():
        assert replica.view == cluster.leader().view
        assert acked <= set(replica.view.topics)


def _submit_everywhere(cluster: Cluster, n: int, outcomes: list[tuple[str, Outcome]]) -> None:
    for name, replica in cluster.replicas.items():
        topic = f"{name}{n}"
        request = Request(f"c{name}", n + 1, n, CreateTopic(topic, 1))
        replica.submit(request, partial(_note, outcomes, topic))


def _note(outcomes: list[tuple[str, Outcome]], topic: str, outcome: Outcome) -> None:
    outcomes.append((topic, outcome))
