"""`chronos top`: what fires next, how punctual it is, who is behind, how much goes through."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

import anyio
import click

from chronosdb.client import Client, NodeStats
from chronosdb.client.cli.context import App, Command, pass_app
from chronosdb.client.cli.live import screen
from chronosdb.client.cli.trend import TopicTrend, Trend, bars
from chronosdb.client.cli.values import format_age, format_bytes, struct_json

#: Three minutes a bar.
_BARS: Final = 20
_COLUMNS: Final = (
    *("topic", "pending", "1 min", "5 min", "60 min"),
    *("published/s", "fired/s", "delivered/s", "settled/s"),
    *("late p50", "late p99", "overdue", "lag", "leased", "the next hour"),
)
#: What a narrow terminal can do without, first to last.
_EXPENDABLE: Final = (
    *("leased", "overdue", "5 min", "late p50"),
    *("delivered/s", "1 min", "settled/s", "published/s"),
)
_NOTE: Final = (
    "late: of the last minute's first deliveries, at most. lag: events fired and not settled, of the"
    " group furthest behind. Ctrl-C ends this."
)


@click.command(cls=Command)
@click.option("--once", is_flag=True, help="Show one reading, and end.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1, max=3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between readings.",
)
@pass_app
def top(app: App, *, once: bool, interval: float) -> None:
    """Watch the node: what fires next, lateness, lag, throughput.

    With --json every reading is one line. Where there is no terminal, one reading is shown.
    """
    if app.json:
        app.run(lambda db: _print_json(app, db, interval, once=once))
    elif once or not sys.stdout.isatty():
        app.run(lambda db: _print_once(app, db, interval))
    else:
        app.run(lambda db: _watch(db, interval))


async def _print_json(app: App, db: Client, interval: float, *, once: bool) -> None:
    trend = Trend()
    trend.add(await db.stats())
    while True:
        await anyio.sleep(interval)
        node = await db.stats()
        app.output.json(_as_json(node, trend.add(node)))
        if once:
            return


async def _print_once(app: App, db: Client, interval: float) -> None:
    """A rate takes two readings."""
    trend = Trend()
    trend.add(await db.stats())
    await anyio.sleep(interval)
    node = await db.stats()
    topics = trend.add(node)
    app.output.text([_title(node), ""])
    app.output.table(_COLUMNS, [_row(topic) for topic in topics])


async def _watch(db: Client, interval: float) -> None:
    trend = Trend()
    with screen() as terminal:
        while True:
            node = await db.stats()
            rows = [_row(topic) for topic in sorted(trend.add(node), key=_busiest_first)]
            terminal.draw(_title(node), _COLUMNS, rows, expendable=_EXPENDABLE, note=_NOTE)
            await anyio.sleep(interval)


def _busiest_first(topic: TopicTrend) -> tuple[float, str]:
    rates = (topic.published, topic.fired, topic.delivered, topic.settled)
    return -sum(rate or 0 for rate in rates), topic.now.name


def _title(node: NodeStats) -> str:
    return (
        f"{node.node_id}  version {node.version}  up {format_age(node.now_ms - node.started_ms)}"
        f"  clients {node.connections}  logs {format_bytes(node.log_bytes)}"
        f"  disk free {format_bytes(node.free_bytes)}"
    )


def _row(topic: TopicTrend) -> Sequence[str]:
    now = topic.now
    return (
        now.name,
        f"{now.pending:,}",
        *(f"{topic.due_within(minutes):,}" for minutes in (1, 5, 60)),
        *(map(_rate, (topic.published, topic.fired, topic.delivered, topic.settled))),
        _lateness(topic.late_p50_ms),
        _lateness(topic.late_p99_ms),
        format_age(now.overdue_ms) if now.overdue_ms else "-",
        f"{now.lag:,}",
        f"{now.leased:,}",
        bars(now.upcoming, _BARS),
    )


def _rate(per_second: float | None) -> str:
    return "-" if per_second is None else f"{per_second:,.0f}"


def _lateness(ms: float | None) -> str:
    if ms is None:
        return "-"
    return "> 1h" if ms == float("inf") else f"≤ {format_age(int(ms))}"


def _as_json(node: NodeStats, topics: Sequence[TopicTrend]) -> dict[str, Any]:
    return {**struct_json(node), "topics": [_topic_as_json(topic) for topic in topics]}


def _topic_as_json(topic: TopicTrend) -> dict[str, Any]:
    """The reading, and what follows from it; a lateness beyond all bounds has no number: -1."""
    late = {
        name: -1 if value == float("inf") else value
        for name, value in (
            ("late_p50_ms", topic.late_p50_ms),
            ("late_p99_ms", topic.late_p99_ms),
        )
    }
    rates = {
        f"{name}_per_s": getattr(topic, name)
        for name in ("published", "fired", "delivered", "settled")
    }
    return {**struct_json(topic.now), **rates, **late}
