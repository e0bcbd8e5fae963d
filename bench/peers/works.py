"""What is measured of each contestant; a table compares all of them on one work."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Final, TypeAlias

from bench.ahead import SPARE_MS, ahead
from bench.case import Case, Figures, Piece
from bench.filling import slices
from bench.lab import Lab
from bench.load import Load, now_ms, pending
from bench.peers.contestant import Contestant, Ours
from bench.publishing import Pace
from bench.quantiles import SPREAD, curve, spread
from bench.receiving import Receipts

BATCHES: Final = (1000, 100, 10, 1)
RATES: Final = (1000, 20_000)
#: What a contestant with an fsync for each event is given at most.
SLOW_RATE_MAX: Final = 1000
#: And so many times fewer events.
SLOWER: Final = 10

CALLERS: Final = 8
SINGLE_CALLERS: Final = 64
SINGLE_RATE: Final = 5000
SINGLE_S: Final = 3.0
LATENESS_S: Final = 5.0
#: From handing out the work to the first event: the client has to connect 64 times.
LEAD_MS: Final = 2000
SETTLE_S: Final = 3.0

Measure: TypeAlias = Callable[[Contestant, int, Lab], Figures]


def publish(contestants: Sequence[Contestant], scale: float) -> list[Piece]:
    """A table for each batch size."""
    return [
        _piece(
            f"publish {batch}",
            f"publish in batches of {batch:,}, {CALLERS} in flight, due in 1 to 2 h",
            partial(_publish, batch),
            contestants,
            max(batch * CALLERS, int(scale * 100_000 * batch / (batch + 100))),
        )
        for batch in BATCHES
    ]


def latency(contestants: Sequence[Contestant], scale: float) -> list[Piece]:
    """Single events at a rate."""
    title = (
        f"single events, {SINGLE_RATE:,}/s offered, {SINGLE_CALLERS} publishers: from send to ack"
        " (one client of ChronosDB shares one connection, the peers have one for each publisher)"
    )
    events = int(scale * SINGLE_RATE * SINGLE_S)
    return [_piece("latency", title, _latency, contestants, events, columns=[*SPREAD, "events/s"])]


def lateness(contestants: Sequence[Contestant], scale: float) -> list[Piece]:
    """A table for each rate."""
    columns = ["p99 ms", "p50 ms", "p99.9 ms", "max ms", "missing", "twice", "early"]
    return [
        _piece(
            f"lateness {rate}",
            f"lateness at {rate:,}/s due at random ms: from the due time to the receipt",
            partial(_lateness, rate),
            [one for one in contestants if rate <= SLOW_RATE_MAX or not one.slow],
            int(scale * rate * LATENESS_S),
            columns=columns,
            fewer=False,
        )
        for rate in RATES
    ]


def burst(contestants: Sequence[Contestant], scale: float) -> list[Piece]:
    """Everything due in one millisecond."""
    events = int(scale * 100_000)
    title = f"burst: {events:,} events due in one ms (a tenth for who syncs each event)"
    return [_piece("burst", title, _burst, contestants, events)]


def drain(contestants: Sequence[Contestant], scale: float) -> list[Piece]:
    """A backlog and one consumer."""
    events = int(scale * 200_000)
    title = (
        f"drain: {events:,} events that are due (a tenth for who syncs each event),"
        " one consumer that reads and acks them"
    )
    return [_piece("drain", title, _drain, contestants, events)]


def pending_events(contestants: Sequence[Contestant], scale: float) -> list[Piece]:
    """Memory, and the start after a crash."""
    events = int(scale * 1_000_000)
    title = (
        f"pending: {events:,} events due in 1 to 2 h (a tenth for who syncs each event);"
        " then kill -9"
    )
    return [_piece("pending", title, _pending, contestants, events, runs=3)]


def _piece(
    name: str,
    title: str,
    measure: Measure,
    contestants: Sequence[Contestant],
    events: int,
    *,
    columns: Sequence[str] = (),
    runs: int = 5,
    fewer: bool = True,
) -> Piece:
    """A case for each contestant; `fewer` events for slow ones."""
    assert events > 0, "a work of nothing"
    cases = [
        Case(
            one.name,
            partial(measure, one, max(1, events // SLOWER) if one.slow and fewer else events),
        )
        for one in contestants
    ]
    return Piece(name, title, cases, runs, columns, baseline=Ours.name)


def _publish(batch: int, contestant: Contestant, events: int, lab: Lab) -> Figures:
    load = replace(pending("bench", events), batch=batch, callers=CALLERS)
    with contestant.serving(lab, durable=True) as server:
        spent = server.publish(load)
    return {"events/s": events / spent.wall_s, "client CPU µs/event": spent.cpu_s / events * 1e6}


def _latency(contestant: Contestant, events: int, lab: Lab) -> Figures:
    with contestant.serving(lab, durable=True) as server:
        pace = Pace(now_ms() + LEAD_MS, events / SINGLE_RATE, SINGLE_RATE)
        singles = server.singles(SINGLE_CALLERS, pace)
    return {**spread(singles.ack_ms()), "events/s": singles.per_second()}


def _lateness(rate: int, contestant: Contestant, events: int, lab: Lab) -> Figures:
    receipts = _fired(contestant, events, int(events / rate * 1000), lab)
    return {**curve(receipts.late_ms()), **_counts(receipts, events)}


def _fired(contestant: Contestant, events: int, span_ms: int, lab: Lab) -> Receipts:
    """What came of events published ahead.

    Those of a slow contestant are stored without fsync, which would take all day, and served with it.

    Raises:
        BenchError: we ourselves broke a promise. What peers do is a figure.
    """
    with contestant.serving(lab, durable=not contestant.slow) as server:

        def receive(count: int, until_ms: int) -> Future[Receipts]:
            if contestant.slow:
                server.make_durable()
            return server.receive(count, until_ms)

        # A slow one starts anew meanwhile, and some take a while to make a consumer.
        spare_ms = (4 if contestant.slow else 2) * SPARE_MS
        receipts = ahead(server.publish, receive, events, span_ms, spare_ms).received()
    if isinstance(contestant, Ours):
        receipts.check(events)
    return receipts


def _counts(receipts: Receipts, events: int) -> Figures:
    """What came not, twice, early."""
    distinct = len(set(receipts.offsets))
    return {
        "missing": events - distinct,
        "twice": len(receipts.offsets) - distinct,
        "early": sum(late_ms < 0 for late_ms in receipts.late_ms()),
    }


def _burst(contestant: Contestant, events: int, lab: Lab) -> Figures:
    receipts = _fired(contestant, events, 1, lab)
    late_ms = receipts.late_ms()
    return {
        "last ms": max(late_ms),
        "first ms": min(late_ms),
        "events/s": events / max(late_ms) * 1000,
        **_counts(receipts, events),
        "events": events,
    }


def _drain(contestant: Contestant, events: int, lab: Lab) -> Figures:
    load = Load("bench", events, due_ms=None)
    with contestant.serving(lab, durable=not contestant.slow) as server:
        server.publish(load)
        if contestant.slow:
            server.make_durable()
        spent = server.drain(load)
    return {
        "events/s": events / spent.wall_s,
        "client CPU µs/event": spent.cpu_s / events * 1e6,
        "events": events,
    }


def _pending(contestant: Contestant, events: int, lab: Lab) -> Figures:
    load = pending("bench", events)
    with contestant.serving(lab, durable=not contestant.slow) as server:
        empty = server.rss_bytes()
        wall_s = sum(server.publish(one).wall_s for one in slices(load))
        time.sleep(SETTLE_S)
        grown = server.rss_bytes() - empty
        start_s = server.crash(load)
        time.sleep(SETTLE_S)
        again = server.rss_bytes() - empty
    return {
        "bytes/event": grown / events,
        "bytes/event after start": again / events,
        "start after kill -9 s": start_s,
        "publish s": wall_s,
        "events": events,
    }


WORKS: Final[Mapping[str, Callable[[Sequence[Contestant], float], list[Piece]]]] = {
    "publish": publish,
    "latency": latency,
    "lateness": lateness,
    "burst": burst,
    "drain": drain,
    "pending": pending_events,
}
