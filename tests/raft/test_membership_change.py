"""Voters of a running cluster change: joiners catch up first, leaders stay, nothing is lost."""

from __future__ import annotations

import pytest

from chronosdb.raft import (
    ChangeVoters,
    CreateTopic,
    Message,
    Outcome,
    RefusedError,
    Replica,
    Request,
)
from chronosdb.raft.snapshot import decode_snapshot
from tests.raft import chaos
from tests.raft.chaos import World
from tests.raft.fake_storage import MemoryStorage


def _world(voters: int = 3, seed: int = 1) -> World:
    world = World(seed, voters)
    world.options = world.options.__class__(compact_entries=8)
    world.delays_s = (0.0005, 0.002)
    world.run(6)
    return world


def _leader(world: World) -> tuple[str, Replica]:
    (found,) = [(name, r) for name, r in world.replicas.items() if r.is_leader]
    return found


def _do(world: World, command: object) -> Outcome:
    name, _ = _leader(world)
    world.submit(name, command, f"label {world.seq}")
    label = f"label {world.seq - 1}"
    world.run(world.now_s + 1)
    (outcome,) = world.outcomes[label]
    return outcome


def _change(world: World, *voters: str) -> Outcome:
    _, leader = _leader(world)
    return _do(world, ChangeVoters(tuple(sorted(voters)), leader.voters_base))


def _founded(seed: int = 1) -> World:
    world = _world(seed=seed)
    _change(world, *world.first)
    return world


def test_the_first_change_writes_down_who_votes() -> None:
    """It may change nothing, since it is the first that joiners learn of voters."""
    world = _world()
    outcome = _change(world, *world.first, "n9")
    assert isinstance(outcome, RefusedError)
    assert "writes down n0, n1, n2" in str(outcome)
    _change(world, *world.first)
    for replica in world.replicas.values():
        assert replica.view.voters == world.first
        assert replica.view.voters_base == replica.voters_base > 0


def test_a_new_node_is_level_before_it_votes() -> None:
    """What it needs was compacted away: it gets a snapshot, then a vote, and counts."""
    world = _founded()
    for n in range(20):
        _do(world, CreateTopic(f"t{n}", 1))
    refused = _change(world, *world.first, "n3")
    assert isinstance(refused, RefusedError)
    assert "n3 is not connected" in str(refused)
    world.boot("n3")
    world.run(world.now_s + 2)
    assert len(world.replicas["n3"].view.topics) == 20
    assert not world.replicas["n3"].is_leader
    _change(world, *world.first, "n3")
    assert world.replicas["n3"].voters == ("n0", "n1", "n2", "n3")


def test_a_learner_never_stands_for_election() -> None:
    """Even if everyone else is gone."""
    world = _founded()
    world.boot("n3")
    world.run(world.now_s + 2)
    term = world.replicas["n3"].term
    for name in world.first:
        world.crash(name)
    world.run(world.now_s + 30)
    assert world.replicas["n3"].term == term
    assert not world.replicas["n3"].is_leader


def test_more_voters_need_a_larger_majority_and_fewer_a_smaller() -> None:
    """The change itself counts for the commits behind it."""
    world = _founded()
    name, _ = _leader(world)
    gone = next(n for n in world.first if n != name)
    world.crash(gone)
    world.run(world.now_s + 1)
    _change(world, *(n for n in world.first if n != gone))
    third = next(n for n in world.first if n not in {name, gone})
    _change(world, name)
    world.crash(third)
    assert not isinstance(_do(world, CreateTopic("alone", 1)), RefusedError)


def test_a_leader_cannot_take_its_own_vote() -> None:
    """It would count itself in a majority that it is no part of."""
    world = _founded()
    name, _ = _leader(world)
    outcome = _change(world, *(n for n in world.first if n != name))
    assert "transfer the leadership first" in str(outcome)


def test_a_leadership_is_transferred_at_once() -> None:
    """No election timeout passes, and the old leader follows."""
    world = _founded()
    name, leader = _leader(world)
    heir = next(n for n in world.first if n != name)
    leader.transfer(heir)
    world.run(world.now_s + 0.3)
    assert _leader(world)[0] == heir
    with pytest.raises(RefusedError):
        leader.transfer(name)


def test_leadership_goes_to_a_level_voter_only() -> None:
    """Anyone else could not win."""
    world = _founded()
    world.boot("n3")
    world.run(world.now_s + 1)
    _, leader = _leader(world)
    for nobody in ("n3", "n9"):
        with pytest.raises(RefusedError, match="no other voter, or not level"):
            leader.transfer(nobody)


def _isolated_leader_changes(world: World) -> tuple[str, Replica, tuple[str, ...]]:
    """A leader appends a change that nobody else gets to see."""
    name, leader = _leader(world)
    for other in world.first:
        if other != name:
            world.cut |= {(name, other), (other, name)}
    rest = tuple(n for n in world.first if n in {name, min(set(world.first) - {name})})
    change = ChangeVoters(rest, leader.voters_base)
    leader.submit(Request("c", 999, 1, change), lambda _: None)
    leader.tick()
    assert leader.voters == rest
    return name, leader, rest


def test_a_change_waits_until_the_one_before_is_committed() -> None:
    """Or the voters of now and of then might have no node in common."""
    world = _founded()
    name, leader, _ = _isolated_leader_changes(world)
    outcomes: list[Outcome] = []
    again = ChangeVoters((name,), leader.voters_base)
    leader.submit(Request("c", 1_000, 1, again), outcomes.append)
    leader.tick()
    assert "not committed yet" in str(outcomes[0])


def test_a_change_that_was_overruled_never_was() -> None:
    """Its entry is truncated, and the voters are those of before."""
    world = _founded()
    name, leader, _ = _isolated_leader_changes(world)
    world.run(world.now_s + 6)
    world.cut.clear()
    for other in world.first:
        if other != name:
            world.connect(name, other)
            world.connect(other, name)
    world.run(world.now_s + 6)
    assert leader.voters == world.first
    assert _leader(world)[1].view == leader.view


def test_a_snapshot_has_the_voters_as_of_its_end() -> None:
    """Not those of an entry behind it, which may never be committed."""
    world = _founded()
    name, leader, rest = _isolated_leader_changes(world)
    leader._core._library._raft.forceLogCompaction()
    leader.tick()
    snapshot = decode_snapshot(world.disks[name].files["d/snapshot"].cached, "here")
    assert leader.voters == rest
    assert snapshot.voters == world.first


def test_only_voters_votes_count() -> None:
    """A node that is none may answer, since it was one when it was asked."""
    world = _founded()
    leader_name, leader = _leader(world)
    name, other = (n for n in world.first if n != leader_name)
    replica = world.replicas[name]
    for peer in (leader_name, other):
        world.cut |= {(name, peer), (peer, name)}
    replica.deliver(leader_name, {"type": "timeout_now", "term": leader.term})
    replica.tick()
    vote = {"type": "response_vote", "term": replica.term}
    replica.deliver("n9", vote)
    replica.tick()
    assert not replica.is_leader
    replica.deliver(other, vote)
    assert replica.is_leader


def test_a_restarted_node_obeys_a_change_that_may_not_be_committed() -> None:
    """Its log has it, and Raft counts by the log."""
    world = _founded()
    name, _, rest = _isolated_leader_changes(world)
    world.crash(name)
    world.boot(name)
    assert world.replicas[name].voters == rest


def test_a_snapshot_that_comes_late_takes_nothing_back() -> None:
    """G6: a leader sent it twice, and the follower had gone on, and said so, meanwhile."""
    world = _founded()
    for n in range(20):
        _do(world, CreateTopic(f"t{n}", 1))
    name, leader = _leader(world)
    follower = next(n for n in world.first if n != name)
    image = world.disks[name].files["d/snapshot"].cached
    replica = world.replicas[follower]
    before = replica.applied_index
    message = {"type": "append_entries", "term": leader.term, "commit_index": before}
    replica.deliver(name, {**message, "serialized": [image, True, True, 0]})
    replica.tick()
    assert replica.applied_index == before
    assert len(replica.view.topics) == 20
    assert replica._core._journal.last_index >= before


def test_a_snapshot_that_is_ignored_commits_nothing() -> None:
    """G2b: this node's last entry may be another than the one that the leader has committed."""
    world = _founded()
    for n in range(20):
        _do(world, CreateTopic(f"t{n}", 1))
    name, leader = _leader(world)
    follower = next(n for n in world.first if n != name)
    image = world.disks[name].files["d/snapshot"].cached
    replica, term = world.replicas[follower], leader.term
    last = replica._core._journal.last_index
    overruled = [b"\x01", last + 1, term]
    append = {"type": "append_entries", "term": term, "commit_index": 1}
    at = {"prevLogIdx": last, "prevLogTerm": replica._core._journal.term_at(last)}
    replica.deliver(name, {**append, **at, "entries": [overruled]})
    assert replica._core._journal.last_index == last + 1
    late = {"type": "append_entries", "term": term + 1, "commit_index": last + 1}
    replica.deliver(name, {**late, "serialized": [image, True, True, 0]})
    replica.tick()
    assert replica.applied_index == last


@pytest.mark.parametrize("chunks", [[(1, 2)], [(0, 1), (2, 3)], [(0, 1), (0, 1)]])
def test_a_snapshot_with_a_gap_is_not_put_together(chunks: list[tuple[int, int]]) -> None:
    """A chunk was lost with its connection; the next whole one counts."""
    world = _founded()
    for n in range(20):
        _do(world, CreateTopic(f"t{n}", 1))
    name, leader = _leader(world)
    image = world.disks[name].files["d/snapshot"].cached
    third = len(image) // 3
    fresh = Replica(
        MemoryStorage(),
        "d",
        node_id="n9",
        peers=world.first,
        learner=True,
        transport=chaos.Endpoint(world, "n9"),
        clock=lambda: world.now_s,
        rng=world.rng,
    )
    message = {"type": "append_entries", "term": leader.term, "commit_index": 1}
    for start, end in chunks:
        piece = image[start * third : end * third if end < 3 else None]
        chunk = [piece, start == 0, end == 3, start * third]
        fresh.deliver(name, {**message, "serialized": chunk})
    assert not fresh.view.topics
    fresh.deliver(name, {**message, "serialized": [image, True, True, 0]})
    assert len(fresh.view.topics) > 10


def test_a_stalled_follower_asks_for_no_votes() -> None:
    """That it heard of no leader while it stood still says nothing about the leader."""
    world = _founded()
    leader_name, _ = _leader(world)
    follower = next(n for n in world.first if n != leader_name)
    asked: list[tuple[str, str]] = []

    def note(_sender: str, peer: str, message: Message) -> bool:
        asked.append((peer, message["type"]))
        return True

    world.send = note  # type: ignore[assignment, method-assign]
    world.now_s += 5
    world.replicas[follower].resume()
    world.replicas[follower].tick()
    assert asked == []
    world.now_s += 5
    world.replicas[follower].tick()
    others = [n for n in world.first if n != follower]
    assert asked == [(name, "pre_vote") for name in others]


def test_nodes_that_always_tick_late_elect_nevertheless() -> None:
    """A stall excuses the leader's silence once, not for ever."""
    world = _founded()
    name, _ = _leader(world)
    world.crash(name)
    for _ in range(40):
        world.run(world.now_s + 0.3)
        for replica in world.replicas.values():
            replica.resume()
    assert _leader(world)[0] != name


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_life_full_of_misfortune_keeps_every_promise(seed: int) -> None:
    """Cuts, crashes, stalls, joins and changes of voters; many more: python -m tests.raft.chaos."""
    world = chaos.run(seed, voters=3 if seed % 2 else 5)
    assert len(world.outcomes) > 50
