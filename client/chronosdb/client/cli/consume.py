"""`chronos consume`: print events as they come, and ack what was printed."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import anyio
import anyio.to_thread
import click

from chronosdb.client import Client, Delivery, DeliveryBatch, Subscription
from chronosdb.client.cli.context import App, Command, pass_app
from chronosdb.client.cli.output import json_line
from chronosdb.client.cli.values import (
    bytes_fields,
    bytes_text,
    format_time,
    json_meta,
    parse_start,
    parsed_by,
)
from chronosdb.wire.limits import MAX_CREDITS

_CREDITS: Final = 256
_BATCH_EVENTS: Final = 500

Start: TypeAlias = str | int


@click.command(cls=Command)
@click.argument("topic")
@click.option("--group", required=True, help="The consumer group; it is made if it is new.")
@click.option("--count", type=click.IntRange(1, MAX_CREDITS), help="Stop after so many events.")
@click.option("--follow", is_flag=True, help="Go on until interrupted (the default).")
@click.option(
    "--until-idle",
    "idle_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Stop when no event came for so long.",
)
@click.option(
    "--mode",
    type=click.Choice(["ordered", "shared"]),
    default="ordered",
    help="A partition has one member at a time, or any member gets the next event.  [ordered]",
)
@click.option(
    "--start",
    metavar="earliest|latest|TIME",
    default="earliest",
    callback=parsed_by(parse_start),
    help="Where a new group begins.  [earliest]",
)
@click.option(
    "--ack/--no-ack", default=True, help="Ack what was printed (the default), or only look."
)
@pass_app
def consume(
    app: App,
    topic: str,
    *,
    group: str,
    count: int | None,
    follow: bool,
    idle_s: float | None,
    mode: str,
    start: Start,
    ack: bool,
) -> None:
    """Print the events of TOPIC that are due, one on a line.

    An event is acked after its line was written: what stdout did not take comes again. With --no-ack
    every event comes again, to this group's next member.
    """
    if follow and idle_s is not None:
        raise click.UsageError("--follow and --until-idle exclude each other")
    if not ack and count is None:
        raise click.UsageError("--no-ack needs --count: without acks a member's credits run out")
    # Without acks no credit comes back: all of them have to be there at the start.
    allowed = min(_CREDITS, count or _CREDITS) if ack or count is None else count

    async def body(db: Client) -> None:
        async with db.consume(
            topic, group=group, credits=allowed, mode=mode, start=start
        ) as events:
            await _print(app, topic, events, count=count, idle_s=idle_s, ack=ack)

    app.run(body)


async def _print(
    app: App,
    topic: str,
    events: Subscription,
    *,
    count: int | None,
    idle_s: float | None,
    ack: bool,
) -> None:
    left = count
    while left is None or left > 0:
        batch = await _next_batch(events, min(_BATCH_EVENTS, left or _BATCH_EVENTS), idle_s)
        if batch is None:
            return
        if app.json:
            lines = [json_line(_as_json(topic, event)) for event in batch]
        else:
            lines = [_as_text(event) for event in batch]
        # In a thread: while the reader of stdout takes its time, the connection stays alive.
        await anyio.to_thread.run_sync(app.output.text, lines, abandon_on_cancel=True)
        if ack:
            await batch.ack()
        left = None if left is None else left - len(batch)


async def _next_batch(
    events: Subscription, max_events: int, idle_s: float | None
) -> DeliveryBatch | None:
    """The next events, or None: none came for `idle_s`."""
    with anyio.move_on_after(idle_s):
        return await anext(events.batches(max_events), None)
    return None


def _as_json(topic: str, event: Delivery) -> dict[str, Any]:
    return {
        "topic": topic,
        "message_id": event.message_id,
        "partition": event.partition,
        "offset": event.offset,
        "position": event.position,
        "attempt": event.attempt,
        "schedule_ts": event.schedule_ts,
        "expires_ts": event.expires_ts,
        "published_ts": event.published_ts,
        "lateness_ms": event.lateness_ms,
        **bytes_fields("key", event.key),
        "meta": json_meta(event.meta),
        **bytes_fields("payload", event.payload),
    }


def _as_text(event: Delivery) -> str:
    parts = [
        format_time(event.schedule_ts),
        f"+{event.lateness_ms}ms",
        f"{event.partition}/{event.offset}",
        event.message_id,
    ]
    if event.attempt > 1:
        parts.append(f"attempt={event.attempt}")
    if event.key is not None:
        parts.append(f"key={bytes_text(event.key)}")
    parts += [f"{name}={value}" for name, value in json_meta(event.meta).items()]
    return "  ".join((*parts, bytes_text(event.payload)))
