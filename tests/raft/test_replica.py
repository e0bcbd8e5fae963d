"""One voter on its own: leadership, durability, refusals, fail-stop, compaction."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from chronosdb.raft import (
    BumpEpochs,
    CreateTopic,
    MetadataFailedError,
    Noop,
    Options,
    Outcome,
    OutcomeUnknownError,
    RefusedError,
    RegisterNode,
    Request,
    Result,
    Status,
    StorageDamagedError,
)
from chronosdb.raft.snapshot import SnapshotFile
from tests.raft.fake_storage import MemoryStorage
from tests.raft.harness import Cluster, Single, settled


def test_it_leads_and_is_ready_after_one_tick() -> None:
    """A cluster of one has nobody to wait for."""
    single = Single(MemoryStorage())
    assert single.replica.is_leader
    assert single.replica.leader == "n1"
    assert single.replica.ready


def test_one_tick_commits_a_command() -> None:
    """No heartbeat period lies between a command and its result, even if the clock stands still."""
    single = Single(MemoryStorage())
    outcomes: list[Outcome] = []
    single.send(CreateTopic("orders", 4), outcomes.append)
    assert not outcomes
    single.replica.tick()
    assert settled(outcomes[0]).created
    assert single.replica.view.topics["orders"].partitions == 4


def test_it_wants_a_tick_only_when_there_is_something_to_do() -> None:
    """The owner may sleep otherwise."""
    single = Single(MemoryStorage())
    wants = [single.replica.wants_tick_soon]
    single.send(Noop(), lambda _: None)
    wants.append(single.replica.wants_tick_soon)
    single.tick()
    wants.append(single.replica.wants_tick_soon)
    assert wants == [False, True, False]


def test_a_result_is_durable_when_it_arrives() -> None:
    """A power cut right inside the callback takes nothing back (I1)."""
    storage = MemoryStorage()
    single = Single(storage)
    images: list[MemoryStorage] = []
    single.send(CreateTopic("orders", 1), lambda _: images.append(storage.after_power_cut()))
    single.tick()
    assert "orders" in Single(images[0]).replica.view.topics


def test_a_thousand_commands_survive_a_power_cut_without_close() -> None:
    """Everything answered is there again, and nothing else."""
    storage = MemoryStorage()
    single = Single(storage)
    for n in range(1_000):
        assert single.do(CreateTopic(f"t{n}", 1)).created
    before = single.replica.view
    again = Single(storage.after_power_cut(), client="d")
    assert again.replica.view == before
    assert again.replica.applied_index > before.version


def test_many_commands_in_flight_share_one_fsync() -> None:
    """Group commit: the cost is per tick, not per command."""
    storage = MemoryStorage()
    single = Single(storage)
    outcomes: list[Outcome] = []
    for n in range(200):
        single.send(CreateTopic(f"t{n}", 1), outcomes.append)
    calls = storage.calls
    single.tick()
    assert len(outcomes) == 200
    assert storage.calls - calls == 2  # one write, one fdatasync


def test_an_idle_replica_touches_no_disk() -> None:
    """Ticking alone writes nothing."""
    storage = MemoryStorage()
    single = Single(storage)
    calls = storage.calls
    for _ in range(100):
        single.tick()
    assert storage.calls == calls


def test_a_retry_after_a_restart_gets_the_first_answer() -> None:
    """Request ids outlive the process."""
    storage = MemoryStorage()
    assert Single(storage).do(CreateTopic("orders", 1)).created
    again = Single(storage.after_power_cut())  # numbers its requests from 1 again
    assert again.do(CreateTopic("orders", 1)).created


def test_epochs_rise_with_each_start() -> None:
    """A node that registers and bumps at each start leads everything under a new epoch."""
    storage = MemoryStorage()
    for life in (1, 2, 3):
        single = Single(storage, client=f"life{life}")
        assert single.do(RegisterNode("n1", "127.0.0.1:9001", life)).ok
        assert single.do(BumpEpochs("n1")).ok
        assert single.do(CreateTopic("orders", 2)).ok
        storage = storage.after_power_cut()
    topic = single.replica.view.topics["orders"]
    assert topic.leaders == ("n1", "n1")
    assert topic.epochs == (3, 3)


def test_too_large_a_command_is_refused() -> None:
    """Refused is definite: it never reaches the log."""
    single = Single(MemoryStorage())
    outcomes: list[Outcome] = []
    single.send(CreateTopic("x" * 70_000, 1), outcomes.append)
    single.tick()
    assert isinstance(outcomes[0], RefusedError)
    assert single.do(Noop()).ok


def test_too_many_commands_in_flight_are_refused() -> None:
    """The bound holds per tick, and frees itself."""
    single = Single(MemoryStorage(), options=Options(in_flight_max=3))
    outcomes: list[Outcome] = []
    for _ in range(5):
        single.send(Noop(), outcomes.append)
    single.tick()
    assert [type(o) for o in outcomes].count(RefusedError) == 2
    assert single.do(Noop()).ok


def test_a_follower_refuses_at_once() -> None:
    """Without a leader nothing is queued, forwarded or lost."""
    cluster = Cluster({"a": MemoryStorage(), "b": MemoryStorage(), "c": MemoryStorage()})
    outcomes: list[Outcome] = []
    cluster.replicas["a"].submit(Request("c", 1, 1, Noop()), outcomes.append)
    cluster.replicas["a"].tick()
    assert isinstance(outcomes[0], RefusedError)


def test_a_callback_that_raises_reaches_the_ticker_and_breaks_nothing() -> None:
    """What the caller throws is the caller's; Raft state is at rest and the command applied once."""
    single = Single(MemoryStorage())

    def fail(_: Outcome) -> None:
        raise KeyError("mine")

    single.send(CreateTopic("orders", 1), fail)
    with pytest.raises(KeyError):
        single.tick()
    single.tick()
    assert not single.do(CreateTopic("orders", 1)).created


def test_a_disk_error_stops_the_replica_for_good() -> None:
    """I15: waiters hear that the outcome is unknown, and nothing works any more."""
    calls = _calls_of_an_empty_start()
    single = Single(MemoryStorage(fail_at=calls + 2))  # its fdatasync
    outcomes: list[Outcome] = []
    single.send(CreateTopic("orders", 1), outcomes.append)
    with pytest.raises(MetadataFailedError):
        single.tick()
    assert isinstance(outcomes[0], OutcomeUnknownError)
    with pytest.raises(MetadataFailedError):
        single.tick()
    with pytest.raises(MetadataFailedError):
        single.send(Noop(), outcomes.append)
    single.replica.close()


def _calls_of_an_empty_start() -> int:
    storage = MemoryStorage()
    Single(storage)
    return storage.calls


def test_close_tells_who_still_waits() -> None:
    """A closed replica leaves nobody hanging; closing twice is harmless."""
    single = Single(MemoryStorage())
    outcomes: list[Outcome] = []
    single.send(Noop(), outcomes.append)
    single.replica.close()
    single.replica.close()
    assert isinstance(outcomes[0], OutcomeUnknownError)


def test_the_journal_stays_small() -> None:
    """20,000 commands leave a file bounded by the compaction threshold, and a complete state."""
    storage = MemoryStorage()
    single = Single(storage, options=Options(compact_entries=500))
    outcomes: list[Outcome] = []
    for n in range(20_000):
        single.send(RegisterNode("n1", f"10.0.0.1:{n}", n), outcomes.append)
        if n % 200 == 199:
            single.tick()
    assert len(outcomes) == 20_000
    assert len(storage.files["d/journal"].durable) < 800 * 200
    again = Single(storage.after_power_cut(), client="d")
    assert again.replica.view.nodes["n1"].incarnation == 19_999
    assert again.do(RegisterNode("n1", "10.0.0.2:1", 20_000)).ok


def test_no_acknowledged_command_is_lost_around_a_compaction() -> None:
    """PySyncObj would drop what was committed between a snapshot and the journal's truncation."""
    options = Options(compact_entries=5)
    storage = MemoryStorage()
    single = Single(storage, options=options)
    for n in range(40):
        single.do(CreateTopic(f"t{n}", 1))
        again = Single(storage.after_power_cut(), client="d", options=options)
        assert len(again.replica.view.topics) == n + 1


@pytest.mark.parametrize("landed", [0, 1, 20, 10_000])
def test_a_power_cut_at_every_disk_call_loses_nothing_acknowledged(landed: int) -> None:
    """At each call in turn the power goes, the write half done or not; then the node comes back."""
    options = Options(compact_entries=6)
    done = False
    fail_at = 0
    while not done:
        fail_at += 1
        storage = MemoryStorage(fail_at=fail_at, landed=landed)
        acked, sent, done = _topics_until_power_cut(storage, options)
        again = Single(storage.after_power_cut(), client="d", options=options)
        found = set(again.replica.view.topics)
        assert acked <= found <= sent, (fail_at, acked - found)
        assert again.do(CreateTopic("after", 1)).created
    assert fail_at > 30


def _topics_until_power_cut(
    storage: MemoryStorage, options: Options
) -> tuple[set[str], set[str], bool]:
    acked: set[str] = set()
    sent: set[str] = set()
    try:
        single = Single(storage, options=options)
        for n in range(14):
            sent.add(f"t{n}")
            assert single.do(CreateTopic(f"t{n}", 1)).created
            acked.add(f"t{n}")
    except (OSError, MetadataFailedError):
        return acked, sent, False
    return acked, sent, True


@pytest.mark.parametrize("name", ["ballot", "journal", "snapshot"])
def test_a_damaged_file_refuses_to_open(name: str) -> None:
    """Never a silently empty node: every flipped byte of what must be durable is an error."""
    storage = MemoryStorage()
    single = Single(storage, options=Options(compact_entries=4))
    for n in range(8):
        single.do(CreateTopic(f"t{n}", 1))
    single.do(Noop())
    good = storage.files[f"d/{name}"].durable
    for position in range(min(len(good), 120)):
        damaged = storage.after_power_cut()
        image = good[:position] + bytes([good[position] ^ 0x10]) + good[position + 1 :]
        damaged.files[f"d/{name}"].cached = image
        with pytest.raises(StorageDamagedError, match=f"d/{name}"):
            Single(damaged)


def test_a_snapshot_of_a_later_version_refuses_to_open() -> None:
    """A downgrade is told what it met, and where."""
    storage = MemoryStorage()
    single = Single(storage, options=Options(compact_entries=4))
    for _ in range(8):
        single.do(Noop())
    file = SnapshotFile(storage, "d/snapshot")
    snapshot = file.load()
    file.save(replace(snapshot, state=[99, *snapshot.state[1:]]))
    with pytest.raises(StorageDamagedError, match="d/snapshot: state version 99"):
        Single(storage.after_power_cut())


@pytest.mark.parametrize("name", ["ballot", "journal", "snapshot"])
def test_a_missing_file_refuses_to_open(name: str) -> None:
    """A node that lost its vote, its log or its state must not take part again."""
    storage = MemoryStorage()
    single = Single(storage, options=Options(compact_entries=4))
    for n in range(8):
        single.do(CreateTopic(f"t{n}", 1))
    survivor = storage.after_power_cut()
    del survivor.files[f"d/{name}"]
    with pytest.raises(StorageDamagedError):
        Single(survivor)


@pytest.mark.parametrize(
    "blob", [b"", b"\x00", b"\xc1", b"\x96\xff\xff", b"\xdd\xff\xff\xff\xff", b"\x91" * 2_000]
)
def test_hostile_commands_are_answered_unsupported_and_harm_nothing(blob: bytes) -> None:
    """Whatever bytes a command has, apply answers; the next command works as ever."""
    single = Single(MemoryStorage())
    answers: list[Outcome] = []
    single.replica._core.propose(blob, answers.append)
    single.tick()
    assert settled(answers[0]).status is Status.UNSUPPORTED
    assert single.do(CreateTopic("orders", 1)).created


def test_an_entry_that_is_no_call_of_ours_is_skipped() -> None:
    """Also the library's own framing may be garbage: here a pickle."""
    single = Single(MemoryStorage())
    answers: list[object] = []
    single.replica._core._library._raft._applyCommand(
        b"\x80\x04.", lambda r, _: answers.append(r), 0
    )
    single.tick()
    assert isinstance(answers[0], Result)
    assert answers[0].status is Status.UNSUPPORTED
    assert single.do(CreateTopic("orders", 1)).created


def test_pickle_is_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for commands, not for the journal, not for snapshots."""

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("pickle was used")

    for name in ("loads", "load", "dumps", "dump", "_loads", "_load"):
        monkeypatch.setattr(pickle, name, forbidden)
    storage = MemoryStorage()
    single = Single(storage, options=Options(compact_entries=4))
    for n in range(12):
        single.do(CreateTopic(f"t{n}", 1))
    assert len(Single(storage.after_power_cut()).replica.view.topics) == 12


def test_two_replicas_in_one_process_keep_their_own_clocks() -> None:
    """The library's globals are bound at each entry, so simulated clusters do not mix."""
    first, second = Single(MemoryStorage()), Single(MemoryStorage())
    second.clock.now_s = 1e9
    second.tick()
    first.do(Noop())
    assert first.replica._core._library._raft.getStatus()["uptime"] < 10


def test_the_view_is_shared_until_something_changes() -> None:
    """Readers may compare identities; a command that changes nothing builds nothing."""
    single = Single(MemoryStorage())
    single.do(CreateTopic("orders", 1))
    view = single.replica.view
    single.do(Noop())
    single.do(CreateTopic("orders", 1))
    assert single.replica.view is view
    single.do(CreateTopic("bills", 1))
    assert "bills" not in view.topics
    assert single.replica.view.version > view.version
