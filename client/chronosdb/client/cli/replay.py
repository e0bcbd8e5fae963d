"""`chronos replay`: print stored events again, in one of four orders."""

from __future__ import annotations

import os
from typing import Any, Final

import anyio
import anyio.to_thread
import click

from chronosdb.client import Client, Replay, ReplayedEvent
from chronosdb.client.cli.context import App, Command, pass_app
from chronosdb.client.cli.output import json_line
from chronosdb.client.cli.values import (
    bytes_fields,
    bytes_text,
    format_time,
    json_meta,
    parse_time_ms,
)
from chronosdb.client.replay.terms import ORDERS
from chronosdb.wire.limits import MAX_CREDITS

_BATCH_EVENTS: Final = 500


@click.command(cls=Command)
@click.argument("topic")
@click.option(
    "--by",
    type=click.Choice(ORDERS),
    default="offset",
    help="The order, and what --start and --end are about.  [offset]",
)
@click.option("--start", metavar="TIME|OFFSET", help="From this time, or offset, on.")
@click.option("--end", metavar="TIME|OFFSET", help="Before this time, or offset.")
@click.option("--partition", type=click.IntRange(min=0), help="Only this partition.")
@click.option("--key", help="Only events published with this key.")
@click.option("--follow", is_flag=True, help="Go on with what comes, until interrupted.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="At the original distances, N times faster.",
)
@click.option("--limit", type=click.IntRange(1, MAX_CREDITS), help="At most so many events.")
@pass_app
def replay(
    app: App,
    topic: str,
    *,
    by: str,
    start: str | None,
    end: str | None,
    partition: int | None,
    key: str | None,
    follow: bool,
    speed: float | None,
    limit: int | None,
) -> None:
    """Print the stored events of TOPIC, one on a line, each once. No group learns of it."""
    first, stop = _bound(by, "--start", start), _bound(by, "--end", end)

    async def body(db: Client) -> None:
        events = db.replay(
            topic,
            by=by,
            start=first,
            end=stop,
            partition=partition,
            key=None if key is None else os.fsencode(key),
            follow=follow,
            speed=speed,
        )
        await _print(app, topic, by, events, limit)

    app.run(body)


async def _print(app: App, topic: str, by: str, events: Replay, limit: int | None) -> None:
    left = limit
    while left is None or left > 0:
        first = await anext(events, None)
        if first is None:
            return
        batch = [first]
        room = min(_BATCH_EVENTS, left or _BATCH_EVENTS) - 1
        if room:
            batch += events.take(room)
        if app.json:
            lines = [json_line(_as_json(topic, event)) for event in batch]
        else:
            lines = [_as_text(by, event) for event in batch]
        # In a thread: while the reader of stdout takes its time, the connection stays alive.
        await anyio.to_thread.run_sync(app.output.text, lines, abandon_on_cancel=True)
        left = None if left is None else left - len(batch)


def _bound(by: str, option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(text) if by == "offset" else parse_time_ms(text)
    except ValueError as error:
        why = "by offset it is a number" if by == "offset" else str(error)
        raise click.BadParameter(why, param_hint=f"'{option}'") from None


def _as_json(topic: str, event: ReplayedEvent) -> dict[str, Any]:
    return {
        "topic": topic,
        "message_id": event.message_id,
        "partition": event.partition,
        "offset": event.offset,
        "position": event.position,
        "schedule_ts": event.schedule_ts,
        "expires_ts": event.expires_ts,
        "published_ts": event.published_ts,
        "fired_ts": event.fired_ts,
        **bytes_fields("key", event.key),
        "meta": json_meta(event.meta),
        **bytes_fields("payload", event.payload),
    }


def _as_text(by: str, event: ReplayedEvent) -> str:
    times = {"scheduled": event.schedule_ts, "fired": event.fired_ts}
    parts = [
        format_time(times.get(by) or event.published_ts),
        f"{event.partition}/{event.offset}",
        event.message_id,
    ]
    if event.key is not None:
        parts.append(f"key={bytes_text(event.key)}")
    parts += [f"{name}={value}" for name, value in json_meta(event.meta).items()]
    return "  ".join((*parts, bytes_text(event.payload)))
