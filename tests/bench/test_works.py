"""The works that all contestants do, on one that only pretends."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bench.case import Figures, Piece
from bench.lab import Lab
from bench.load import Load
from bench.peers import works
from bench.peers.contestant import Serving
from bench.publishing import Pace, Singles
from bench.receiving import Receipts
from bench.stopwatch import Spent


@dataclass
class Pretender:
    """Takes a second for everything; every event comes 2 ms late, but for those that get `lost`."""

    name: str = "Pretender"
    slow: bool = False
    lost: int = 0
    said: list[str] = field(default_factory=list)
    stored: int = 0
    due_ms: int = 0

    def missing(self) -> str | None:
        return None

    @contextmanager
    def serving(self, lab: Lab, *, durable: bool) -> Iterator[Serving]:
        del lab
        self.said.append(f"start durable={durable}")
        yield self
        self.said.append("end")

    def publish(self, load: Load) -> Spent:
        self.said.append(f"publish {load.count}")
        self.stored += load.count
        self.due_ms = load.due_ms or 0
        # After so slow a sample the due times are far away: no test depends on how fast it is.
        return Spent(wall_s=1000.0 if load.topic == "sample" else 1.0, cpu_s=0.5)

    def singles(self, callers: int, pace: Pace) -> Singles:
        del callers
        start = pace.start_ms * 1_000_000
        return Singles(array("q", [start]), array("q", [start]), array("q", [start + 3_000_000]))

    def receive(self, count: int, until_ms: int) -> Future[Receipts]:
        del until_ms
        self.said.append("receive")
        receipts, future = Receipts(), Future[Receipts]()
        for number in range(count - self.lost):
            receipts.due_ms.append(self.due_ms)
            receipts.received_ns.append((self.due_ms + 2) * 1_000_000)
            receipts.offsets.append(number)
        future.set_result(receipts)
        return future

    def drain(self, load: Load) -> Spent:
        self.said.append(f"drain {load.count}")
        return Spent(wall_s=1.0, cpu_s=0.5)

    def rss_bytes(self) -> int:
        return 1_000_000 + 100 * self.stored

    def make_durable(self) -> None:
        self.said.append("durable")

    def crash(self, load: Load) -> float:
        self.said.append(f"crash {load.count}")
        return 0.25


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Lab]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(works, "SETTLE_S", 0)
    with Lab() as lab:
        yield lab


def measured(pieces: list[Piece], lab: Lab) -> Figures:
    """The figures of the only case of the first piece."""
    (case,) = pieces[0].cases
    return case.measure(lab)


def test_memory_is_what_the_server_grew_by_for_each_event(lab: Lab) -> None:
    """And the start after a crash is the contestant's own."""
    figures = measured(works.pending_events([Pretender()], 0.001), lab)
    assert figures["bytes/event"] == 100
    assert figures["start after kill -9 s"] == 0.25
    assert figures["events"] == 1000


def test_lateness_is_from_the_due_time_to_the_receipt(lab: Lab) -> None:
    """What does not come is a figure, when it is a peer that loses it."""
    figures = measured(works.lateness([Pretender(lost=3)], 0.01), lab)
    assert figures["p99 ms"] == 2
    assert (figures["missing"], figures["twice"], figures["early"]) == (3, 0, 0)


def test_a_burst_ends_with_its_last_receipt(lab: Lab) -> None:
    """In events a second, from the due time on."""
    figures = measured(works.burst([Pretender()], 0.001), lab)
    assert figures["last ms"] == 2
    assert figures["events/s"] == 50_000


def test_single_events_are_timed_from_send_to_ack(lab: Lab) -> None:
    """Whatever their rate."""
    assert measured(works.latency([Pretender()], 0.01), lab)["p50 ms"] == 3


def test_who_syncs_each_event_gets_fewer_and_stores_ahead_without(lab: Lab) -> None:
    """But serves with fsync: it is started anew before anybody consumes."""
    slow = Pretender(slow=True)
    measured(works.burst([slow], 0.1), lab)
    assert slow.said == [
        "start durable=False",
        "publish 5000",
        "publish 1000",
        "durable",
        "receive",
        "end",
    ]


def test_publishing_is_measured_with_fsync_of_everybody(lab: Lab) -> None:
    """Events a second by the client's clock, at every batch size."""
    slow = Pretender(slow=True)
    pieces = works.publish([slow], 1.0)
    assert [piece.name for piece in pieces] == [f"publish {batch}" for batch in works.BATCHES]
    figures = measured(pieces, lab)
    assert slow.said[0] == "start durable=True"
    assert slow.said[1] == f"publish {figures['events/s']:.0f}"


def test_who_syncs_each_event_is_left_out_at_high_rates() -> None:
    """It would be measured how long a queue gets."""
    low, high = works.lateness([Pretender(), Pretender("Slow", slow=True)], 1.0)
    assert [case.name for case in low.cases] == ["Pretender", "Slow"]
    assert [case.name for case in high.cases] == ["Pretender"]
