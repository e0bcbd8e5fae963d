"""`chronos pending`: what will fire, as rows that can be listed, counted, cancelled and moved."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from chronosdb.client import ChangeResult, Client, StoredEvent
from chronosdb.client.cli.context import App, Group, pass_app
from chronosdb.client.cli.exits import Exit, Failure
from chronosdb.client.cli.get import event_as_json
from chronosdb.client.cli.output import counted
from chronosdb.client.cli.values import bytes_text, format_time, parse_time_ms, parsed_by
from chronosdb.wire.units import parse_duration_ms

F = TypeVar("F", bound=Callable[..., object])


@click.group(cls=Group)
def pending() -> None:
    """List, count, cancel and move events that have not fired."""


def _in_range(command: F) -> F:
    """The options that choose pending events."""
    time = parsed_by(parse_time_ms)
    for option in (
        click.option("--key", help="Only events published with this key."),
        click.option("--end", "end_ms", callback=time, help="Due before this time."),
        click.option("--start", "start_ms", callback=time, help="Due at this time or later."),
    ):
        command = option(command)
    return command


@pending.command("list")
@click.argument("topic")
@_in_range
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
@pass_app
def list_pending(
    app: App,
    topic: str,
    *,
    start_ms: int | None,
    end_ms: int | None,
    key: str | None,
    limit: int | None,
) -> None:
    """List the pending events of TOPIC, the next to fire first."""

    async def show(db: Client) -> int:
        shown = 0
        events = db.pending(topic, start=start_ms, end=end_ms, key=_key(key))
        async for event in events:
            _show(app, topic, event)
            shown += 1
            if shown == limit:
                break
        return shown

    shown = app.run(show)
    if not app.json:
        app.output.note(counted(shown, "pending event"))


@pending.command()
@click.argument("topic")
@_in_range
@pass_app
def count(app: App, topic: str, start_ms: int | None, end_ms: int | None, key: str | None) -> None:
    """Count the pending events of TOPIC."""
    number = app.run(lambda db: db.count_pending(topic, start=start_ms, end=end_ms, key=_key(key)))
    if app.json:
        app.output.json({"topic": topic, "pending": number})
    else:
        app.output.text([str(number)])


@pending.command()
@click.argument("topic")
@click.argument("message_id", metavar="[ID]", required=False)
@_in_range
@click.option("--all", "everything", is_flag=True, help="Every pending event of the topic.")
@click.option("--dry-run", is_flag=True, help="Only say how many it would be.")
@pass_app
def cancel(
    app: App,
    topic: str,
    message_id: str | None,
    *,
    start_ms: int | None,
    end_ms: int | None,
    key: str | None,
    everything: bool,
    dry_run: bool,
) -> None:
    """Cancel the event ID of TOPIC, or without ID those that --start, --end, --key or --all choose."""
    if message_id is not None:
        if start_ms is not None or end_ms is not None or everything or dry_run:
            raise click.UsageError("with an ID, only --key may be given")
        _report(app, topic, app.run(lambda db: db.cancel(topic, message_id, key=_key(key))))
        return
    if start_ms is None and end_ms is None and key is None and not everything:
        raise click.UsageError("say what to cancel: an ID, --start, --end, --key, or --all")
    number = app.run(
        lambda db: db.cancel_where(
            topic, start=start_ms, end=end_ms, key=_key(key), dry_run=dry_run
        )
    )
    if app.json:
        app.output.json({"topic": topic, "cancelled": number, "dry_run": dry_run})
    else:
        app.output.text([("would cancel " if dry_run else "cancelled ") + counted(number, "event")])


@pending.command()
@click.argument("topic")
@click.argument("message_id", metavar="ID")
@click.option("--at", "at_ms", callback=parsed_by(parse_time_ms), help="ISO-8601 or epoch ms.")
@click.option(
    "--after", "after_ms", callback=parsed_by(parse_duration_ms), help="30s, 5m, 2h, 1d …"
)
@click.option("--now", is_flag=True, help="Due at once.")
@click.option("--key", help="The key it was published with.")
@pass_app
def move(
    app: App,
    topic: str,
    message_id: str,
    *,
    at_ms: int | None,
    after_ms: int | None,
    now: bool,
    key: str | None,
) -> None:
    """Let the event ID of TOPIC be due at another time."""
    if [at_ms is not None, after_ms is not None, now].count(True) != 1:
        raise click.UsageError("give one of --at, --after and --now")
    after = None if after_ms is None else after_ms / 1000
    result = app.run(
        lambda db: db.reschedule(topic, message_id, at=at_ms, after=after, key=_key(key))
    )
    _report(app, topic, result)


def _show(app: App, topic: str, event: StoredEvent) -> None:
    if app.json:
        app.output.json(event_as_json(topic, event))
        return
    key = "" if event.key is None else f"  key={bytes_text(event.key)}"
    payload = bytes_text(event.payload)
    app.output.text([f"{format_time(event.schedule_ts)}  {event.message_id}{key}  {payload}"])


def _report(app: App, topic: str, result: ChangeResult) -> None:
    """One line; the exit code says whether what was asked is so."""
    facts: dict[str, Any] = {
        "topic": topic,
        "message_id": result.message_id,
        "outcome": result.outcome,
    }
    if app.json:
        app.output.json(facts)
    elif result.outcome == "not_found":
        raise Failure(f'topic "{topic}" has no event "{result.message_id}"', Exit.NOT_FOUND)
    else:
        app.output.text([f"{result.message_id}: {result.outcome.replace('_', ' ')}"])


def _key(key: str | None) -> bytes | None:
    return None if key is None else os.fsencode(key)
