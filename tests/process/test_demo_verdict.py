"""The checks themselves: whatever breaks a promise is seen, in a log and in the book of deliveries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from chronosdb.client import Delivery, Event, PublishResult
from chronosdb.node.demo.audit import Evidence, gather, read_histories
from chronosdb.node.demo.report import make_report
from chronosdb.node.demo.tally import Tally, percentile
from chronosdb.node.partition import records
from chronosdb.node.partition.due import Due
from chronosdb.wal import Draft, Log, LogOptions, OsDisk
from chronosdb.wire import EventBatch, Row, encode_batch

DUE_MS = 1000
GROUP = "g"


def published(*ids: bytes) -> Draft:
    """A PUBLISH record of these ids, all due at DUE_MS."""
    rows = [Row(i, DUE_MS, b"", b"", b"payload " + i) for i in ids]
    return records.publish(EventBatch(encode_batch(rows)), ts_ms=900, epoch=1)


def due(offsets: Sequence[int], due_ms: int) -> Due:
    """These offsets at one time."""
    return Due(np.full(len(offsets), due_ms, np.int64), np.array(offsets, np.int64))


def fired(*offsets: int, due_ms: int = DUE_MS, at_ms: int = DUE_MS) -> Draft:
    """A FIRE record."""
    return records.fire(due(offsets, due_ms), at_ms, 1)


def cancelled(*offsets: int) -> Draft:
    """A CANCEL record."""
    return records.cancel(np.array(offsets, np.int64), 950, 1)


def settled(*run: int) -> list[Draft]:
    """A group that settled the positions from run[0] to run[1]."""
    group = records.group(GROUP, 0, DUE_MS, 1)
    reason = records.SettleReason.ACKED
    return [group, records.settle(GROUP, reason, [(run[0], run[1])], DUE_MS, 1)]


def evidence_of(directory: Path, *drafts: Draft) -> Evidence:
    """What a log of these records says."""
    disk = OsDisk()
    log = Log.open(disk, str(directory / "log"), LogOptions(), log_id=b"i" * 16)
    log.append(drafts)
    log.sync()
    log.close()
    return gather(read_histories(disk, str(directory)), GROUP)


def test_a_good_log_has_no_violations(tmp_path: Path) -> None:
    """Two events, published, fired and settled."""
    found = evidence_of(tmp_path, published(b"a", b"b"), fired(0, 1), *settled(0, 2))
    assert (found.logs, found.events, found.fired, found.unsettled) == (1, 2, 2, 0)
    assert found.violations == []
    assert found.stored["b"].payload == b"payload b"


@pytest.mark.parametrize(
    ("drafts", "violation"),
    [
        ([published(b"a"), published(b"a")], "id 'a' is stored at offsets 0 and 1 (I5)"),
        ([published(b"a"), fired(0), fired(0)], "offset 0 is fired, and was not pending (I13)"),
        ([published(b"a"), fired(1)], "offset 1 is fired, and was not pending (I13)"),
        (
            [published(b"a"), cancelled(0), fired(0)],
            "offset 0 is fired, and was not pending (I13)",
        ),
        ([published(b"a"), fired(0, at_ms=999)], "offset 0 is fired 1 ms early (I3)"),
        ([published(b"a"), fired(0, due_ms=999)], "offset 0 is due at 1000, not 999 (I13)"),
    ],
)
def test_each_violation_in_a_log_is_found(
    tmp_path: Path, drafts: list[Draft], violation: str
) -> None:
    """An id stored twice; an event fired twice, out of nothing, after all, early, or at another time."""
    assert evidence_of(tmp_path, *drafts).violations == [violation]


def test_what_was_moved_or_cancelled_is_accounted_for(tmp_path: Path) -> None:
    """A moved event fires at its new time, a cancelled one never."""
    moved = records.move(due([0], DUE_MS + 5), 950, 1)
    late = fired(0, due_ms=DUE_MS + 5, at_ms=DUE_MS + 5)
    found = evidence_of(tmp_path, published(b"a", b"b"), moved, cancelled(1), late)
    assert (found.violations, found.events, found.fired) == ([], 2, 1)


def test_damage_in_a_log_is_found(tmp_path: Path) -> None:
    """One flipped byte in the middle."""
    drafts = (published(b"a"), published(b"b"), fired(0, 1))
    evidence_of(tmp_path / "whole", *drafts)
    [segment] = (tmp_path / "whole").glob("log/*.log")
    content = bytearray(segment.read_bytes())
    content[content.index(b"payload a")] ^= 1
    segment.write_bytes(content)
    found = gather(read_histories(OsDisk(), str(tmp_path)), GROUP)
    assert any("no valid record" in violation for violation in found.violations)


@dataclass(frozen=True)
class FakeDelivery:
    """The part of a delivery that the book reads."""

    message_id: str = "a"
    payload: bytes = b"payload a"
    schedule_ts: int = DUE_MS
    lateness_ms: int = 2


def deliver(tally: Tally, event: FakeDelivery, received_ms: int = DUE_MS + 5) -> None:
    """File a delivery."""
    tally.deliver(cast("Delivery", event), received_ms)


def good_run() -> Tally:
    """One event that went well."""
    tally = Tally({"a": Event(payload=b"payload a", message_id="a", schedule_ts=DUE_MS)})
    tally.publish(PublishResult("a", 0, 0, duplicate=False))
    tally.publish(PublishResult("a", 0, 0, duplicate=True))
    deliver(tally, FakeDelivery())
    tally.ack(["a"], DUE_MS + 6)
    return tally


def mutants() -> Iterator[tuple[str, Callable[[Tally], None]]]:
    """Something that goes wrong, and the promise that it breaks."""
    late = FakeDelivery(lateness_ms=7)
    yield "never early", lambda tally: deliver(_without(tally), FakeDelivery(lateness_ms=-1))
    yield "never early", lambda tally: deliver(_without(tally), FakeDelivery(), DUE_MS - 1)
    yield "no other bytes", lambda tally: deliver(tally, FakeDelivery(payload=b"other"))
    yield "no other bytes", lambda tally: deliver(tally, FakeDelivery(message_id="stranger"))
    yield "no other bytes", lambda tally: deliver(tally, FakeDelivery(schedule_ts=DUE_MS + 1))
    yield "not again after its ack", lambda tally: deliver(tally, late)
    yield "every event delivered", lambda tally: tally.first.clear()
    yield (
        "a second publish stores nothing",
        lambda tally: tally.publish(PublishResult("a", 0, 1, duplicate=True)),
    )
    yield (
        "a second publish stores nothing",
        lambda tally: tally.publish(PublishResult("a", 0, 0, duplicate=False)),
    )


def _without(tally: Tally) -> Tally:
    """The same book before the first delivery."""
    tally.first.clear()
    tally.acked.clear()
    return tally


def broken(tally: Tally, evidence: Evidence, exit_code: int = 0) -> set[str]:
    """The promises that the report calls broken."""
    report = make_report(tally, evidence, exit_code)
    return {promise.name for promise in report.promises if not promise.kept}


@pytest.fixture
def whole(tmp_path: Path) -> Evidence:
    """The log of a good run."""
    return evidence_of(tmp_path, published(b"a"), fired(0), *settled(0, 1))


def test_a_good_run_keeps_every_promise(whole: Evidence) -> None:
    """And says how late things were."""
    report = make_report(good_run(), whole, 0)
    assert report.kept
    assert report.details == []
    assert [(row.p50, row.worst) for row in report.lateness] == [(2, 2), (5, 5)]


@pytest.mark.parametrize(("promise", "mutate"), list(mutants()))
def test_each_broken_promise_of_delivery_is_named(
    whole: Evidence, promise: str, mutate: Callable[[Tally], None]
) -> None:
    """One thing goes wrong, and its promise is called broken."""
    tally = good_run()
    mutate(tally)
    assert promise in broken(tally, whole)


def test_each_broken_promise_of_the_log_is_named(whole: Evidence) -> None:
    """Lost, altered, doubled, not fired, not settled, damaged; and an unclean stop."""
    other = {"a": replace(whole.stored["a"], payload=b"other")}
    assert broken(good_run(), replace(whole, stored=other)) == {"in the log, every byte"}
    assert broken(good_run(), replace(whole, stored={})) >= {"in the log, every byte"}
    assert broken(good_run(), replace(whole, events=2)) == {"in the log once"}
    assert broken(good_run(), replace(whole, fired=0)) == {"fired in the log once"}
    assert broken(good_run(), replace(whole, unsettled=1)) == {"acks in the log"}
    assert broken(good_run(), replace(whole, violations=["x"])) == {"logs whole and in order"}
    assert broken(good_run(), whole, exit_code=1) == {"clean stop on SIGTERM"}


def test_a_second_delivery_before_the_ack_is_allowed(whole: Evidence) -> None:
    """That is what at least once means; it is counted."""
    tally = good_run()
    deliver(tally, FakeDelivery(lateness_ms=6))
    assert tally.again == 1
    assert broken(tally, whole) == set()


def test_only_what_the_kill_held_up_is_left_out() -> None:
    """Due before the node was back and received after the kill: in the gap. All else is measured."""
    tally = Tally()
    deliver(tally, FakeDelivery("before", schedule_ts=1500), 1501)
    tally.killed_ms, tally.serving_ms = 2000, 3000
    for due_ms, received_ms in ((1990, 3050), (2500, 3050), (3060, 3061)):
        deliver(tally, FakeDelivery(f"due at {due_ms}", schedule_ts=due_ms), received_ms)
    assert tally.back_ms == 3050
    assert [receipt.due_ms for receipt in tally.outside_the_gap()] == [1500, 3060]


@pytest.mark.parametrize(("percent", "value"), [(50, 2), (51, 3), (75, 3), (99, 4), (100, 4)])
def test_percentiles_are_values_that_occurred(percent: float, value: int) -> None:
    """Nearest rank: no interpolation between measurements."""
    assert percentile([4, 1, 3, 2], percent) == value
