"""The checker finds nothing wrong with the real node, and finds what is wrong with the golden histories."""

from __future__ import annotations

import io
from pathlib import Path
from random import Random

import pytest
import trio
from rich.console import Console
from trio.testing import MockClock

from chronosdb.client import Event
from tests.proof.checker import INVARIANTS, check
from tests.proof.dump import dump
from tests.proof.history import Recorder, read_history
from tests.proof.recorded import Recorded
from tests.proof.recorded_subscription import RecordedSubscription
from tests.proof.screen import print_verdict, verdict_table
from tests.support.in_process import DATA_DIR, Broker, broker

GOLDEN = sorted(Path(__file__).with_name("golden").glob("*.jsonl"))


def invariant_of(path: Path) -> str:
    """By the name of its file."""
    return path.stem.split("-")[0]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden(path: Path) -> None:
    """A good history breaks nothing, and is judged; a bad one breaks what it is named after, alone."""
    verdict = check(read_history(path))
    invariant = invariant_of(path)
    assert sum(verdict.judged[invariant].values()) > 0
    assert set(verdict.broken) == ({invariant} if path.stem.endswith("-bad") else set())


def test_every_invariant_has_a_good_and_a_bad_history() -> None:
    """But for those that only traces of several nodes can show."""
    for kind in ("good", "bad"):
        assert {invariant_of(path) for path in GOLDEN if path.stem.endswith(kind)} == set(
            INVARIANTS
        )


@pytest.mark.parametrize(
    "path", [p for p in GOLDEN if p.stem.endswith("-bad")], ids=lambda p: p.stem
)
def test_a_violation_is_proved_by_lines_that_are_there(path: Path) -> None:
    """Whoever reads the verdict is shown the lines, cut to the rows in question."""
    verdict = check(read_history(path))
    console = Console(width=200, record=True, file=io.StringIO())
    print_verdict(console, path, verdict)
    said = console.export_text()
    for one in verdict.violations:
        assert one.text in said
        assert one.proof
        assert all(f"line {line}: {{" in said for line, _ in one.proof)


def test_nothing_judged_is_said() -> None:
    """An empty history breaks nothing, and no row of the table is green."""
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(verdict_table(check([])))
    assert console.export_text().count("nothing to judge") == len(INVARIANTS)


async def test_the_real_node_keeps_every_promise(clock: MockClock) -> None:
    """A small life of everything, with a power cut in the middle: nothing is broken, nothing unjudged."""
    sink = io.BytesIO()
    async with broker(clock) as node, node.library() as client:
        recorder = Recorder(sink, lambda: round(trio.current_time() * 1e9), lambda: node.now_ms)
        recorder.saw("settings", {"dedup_window_ms": 7 * 86_400_000})
        await _live(node, Recorded(client, recorder, "p"))
        await node.stop()
        dump(recorder, node.disk, DATA_DIR)
    verdict = check(read_history(sink.getvalue().splitlines(keepends=True)))
    assert verdict.violations == []
    assert set(verdict.judged) >= {f"I{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 16)}


async def test_a_log_without_its_beginning(clock: MockClock) -> None:
    """Retention has deleted what is over, and carried what was pending: still nothing is broken."""
    sink = io.BytesIO()
    settings = {"dedup_window_ms": 60_000, "retention_ms": 120_000}
    async with broker(clock, segment_bytes=16 * 1024) as node, node.library() as client:
        recorder = Recorder(sink, lambda: round(trio.current_time() * 1e9), lambda: node.now_ms)
        db = Recorded(client, recorder, "p")
        await db.create_topic("t", **settings)
        far_ms = node.now_ms + 1_200_000
        await db.publish_many(
            "t", [Event(payload=b"", message_id=f"far{n}", schedule_ts=far_ms) for n in range(5)]
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_consume_all, db)
            for n in range(120):
                await db.publish("t", b"x" * 2000, message_id=f"e{n}")
                if n == 60:
                    await db.cancel("t", "far0")
                await trio.sleep(10)
            await trio.sleep(10)
            nursery.cancel_scope.cancel()
        assert [event async for event in db.replay("t", by="fired")]
        recorder.saw("drained", {"topic": "t", "groups": ["g"]})
        await node.stop()
        dump(recorder, node.disk, DATA_DIR)
    lines = list(read_history(sink.getvalue().splitlines(keepends=True)))
    verdict = check(lines)
    assert verdict.violations == []
    assert verdict.judged["I2"]["carried events"] > 0
    [begin] = [line.seen for line in lines if line.seen and line.seen.get("what") == "begin"]
    assert begin["offset"] > 100


async def _consume_all(db: Recorded) -> None:
    async with db.consume("t", group="g", member="m") as events:
        await _consume(db, events, 10_000)


async def _live(node: Broker, db: Recorded) -> None:
    rng = Random(1)
    now_ms = node.now_ms
    await db.create_topic("t", partitions=2)
    batch = [
        Event(payload=b"%d" % n, message_id=f"e{n}", schedule_ts=now_ms + rng.randint(0, 2000))
        for n in range(100)
    ]
    await db.publish_many("t", batch)
    await db.publish_many("t", batch[:10])
    for n in range(10):
        await db.cancel("t", f"e{n}")
        await db.reschedule("t", f"e{n + 5}", at=now_ms + 1000)
    await db.count_pending("t")
    await db.pending("t")
    async with db.consume("t", group="g", member="m1") as events:
        await _consume(db, events, 30)
    db.recorder.saw("crash", {"how": "power cut"})
    await node.crash()
    await node.start()
    db.recorder.saw("serving")
    db.recorder.saw("healed", {"bound_ms": 10_000})
    await db.publish("t", b"after")
    async with db.consume("t", group="g", member="m2") as events:
        with trio.move_on_after(5):
            await _consume(db, events, 200)
    for by in ("offset", "published", "fired", "scheduled"):
        assert [event async for event in db.replay("t", by=by)]
    await db.get("t", "e20")
    await db.group("t", "g")
    db.recorder.saw("drained", {"topic": "t", "groups": ["g"]})


async def _consume(db: Recorded, events: RecordedSubscription, limit: int) -> None:
    acked = 0
    async for batch in events.batches(20):
        await batch.ack()
        await db.group("t", "g")
        acked += len(batch)
        if acked >= limit:
            return
