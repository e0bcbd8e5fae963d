"""The verdict: the tally and the logs, held against what was promised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chronosdb.node.demo.audit import Evidence
from chronosdb.node.demo.tally import Receipt, Tally, percentile, same


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise (design I1 …), whether it was kept, and the figure that shows it."""

    name: str
    kept: bool
    figure: str


@dataclass(frozen=True, slots=True)
class Lateness:
    """How late, in ms."""

    what: str
    events: int
    p50: int
    p99: int
    worst: int


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is said at the end."""

    figures: dict[str, int]
    lateness: list[Lateness]
    promises: list[Promise]
    #: What went wrong, one by one; empty when every promise was kept.
    details: list[str]

    @property
    def kept(self) -> bool:
        """Whether all is as promised."""
        return all(promise.kept for promise in self.promises)


def make_report(tally: Tally, evidence: Evidence, exit_code: int) -> Report:
    """Compare what happened with what was promised."""
    lost = [
        message_id for message_id in tally.published if not _in_log(tally, evidence, message_id)
    ]
    undelivered = sorted(tally.expected.keys() - tally.first.keys())
    figures = {
        "published": len(tally.published),
        "fired": evidence.fired,
        "delivered": len(tally.first),
        "acks_confirmed": len(tally.acked),
        "delivered_twice": tally.again,
        "lost": len({*lost, *undelivered}),
        "early": tally.early,
    }
    details = [
        *evidence.violations,
        *(f"{message_id!r} was published, and is not in the log" for message_id in lost),
        *(f"{message_id!r} was never delivered" for message_id in undelivered),
    ]
    promises = [
        *_promises_of_the_log(tally, evidence, len(lost)),
        *_promises_of_delivery(tally),
        Promise("clean stop on SIGTERM", exit_code == 0, f"exit code {exit_code}"),
    ]
    return Report(figures, list(_lateness(tally)), promises, details)


def _in_log(tally: Tally, evidence: Evidence, message_id: str) -> bool:
    stored, expected = evidence.stored.get(message_id), tally.expected[message_id]
    return stored is not None and same(expected, stored.payload, stored.due_ms)


def _promises_of_the_log(tally: Tally, evidence: Evidence, lost: int) -> Iterator[Promise]:
    total = len(tally.expected)
    yield Promise("in the log, every byte", lost == 0, f"{total - lost:,} of {total:,}")
    yield Promise(
        "in the log once",
        evidence.events == len(evidence.stored) == total,
        f"{evidence.events:,} events with {len(evidence.stored):,} ids",
    )
    yield Promise("fired in the log once", evidence.fired == total, f"{evidence.fired:,} firings")
    yield Promise("acks in the log", evidence.unsettled == 0, f"{evidence.unsettled:,} missing")
    yield Promise(
        "logs whole and in order",
        not evidence.violations,
        f"{evidence.logs} logs read, {len(evidence.violations)} violations",
    )


def _promises_of_delivery(tally: Tally) -> Iterator[Promise]:
    total = len(tally.expected)
    yield Promise("every event delivered", len(tally.first) == total, f"{len(tally.first):,}")
    yield Promise("never early", tally.early == 0, f"{tally.early:,} early")
    yield Promise("no other bytes", tally.altered == 0, f"{tally.altered:,} altered or unknown")
    yield Promise(
        "not again after its ack",
        tally.after_ack == 0,
        f"{tally.after_ack:,}; {tally.again:,} came twice before their ack",
    )
    yield Promise(
        "a second publish stores nothing",
        tally.recognised == tally.republished,
        f"{tally.recognised:,} of {tally.republished:,} answered with the first offset",
    )


def _lateness(tally: Tally) -> Iterator[Lateness]:
    yield from _rows("all events", list(tally.first.values()))
    if tally.killed_ms is not None:
        yield from _rows("but those the restart held up", tally.outside_the_gap())


def _rows(what: str, receipts: Sequence[Receipt]) -> Iterator[Lateness]:
    if receipts:
        yield _row(f"{what}: sent", [receipt.sent_late_ms for receipt in receipts])
        yield _row(f"{what}: received", [receipt.late_ms for receipt in receipts])


def _row(what: str, late_ms: Sequence[int]) -> Lateness:
    p50, p99 = (percentile(late_ms, percent) for percent in (50, 99))
    return Lateness(what, len(late_ms), p50, p99, max(late_ms))
