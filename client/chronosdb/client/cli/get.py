"""`chronos get`: one event by its id."""

from __future__ import annotations

import os
from typing import Any

import click

from chronosdb.client import StoredEvent
from chronosdb.client.cli.context import App, Command, pass_app
from chronosdb.client.cli.exits import Exit, Failure
from chronosdb.client.cli.values import bytes_fields, bytes_text, format_time, json_meta


@click.command(cls=Command)
@click.argument("topic")
@click.argument("message_id", metavar="ID")
@click.option("--key", help="The key it was published with: asks one partition instead of all.")
@pass_app
def get(app: App, topic: str, message_id: str, key: str | None) -> None:
    """Show the event ID of TOPIC: where it stands, when it is due, what it holds."""
    raw_key = None if key is None else os.fsencode(key)
    event = app.run(lambda db: db.get(topic, message_id, key=raw_key))
    if event is None:
        raise Failure(f'topic "{topic}" has no event "{message_id}"', Exit.NOT_FOUND)
    if app.json:
        app.output.json(event_as_json(topic, event))
    else:
        app.output.text([f"{name:<13}{value}" for name, value in _as_rows(topic, event)])


def event_as_json(topic: str, event: StoredEvent) -> dict[str, Any]:
    """The event as `--json` shows it."""
    return {
        "topic": topic,
        "message_id": event.message_id,
        "state": event.state,
        "partition": event.partition,
        "offset": event.offset,
        "schedule_ts": event.schedule_ts,
        "expires_ts": event.expires_ts,
        "published_ts": event.published_ts,
        **bytes_fields("key", event.key),
        "meta": json_meta(event.meta),
        **bytes_fields("payload", event.payload),
    }


def _as_rows(topic: str, event: StoredEvent) -> list[tuple[str, object]]:
    return [
        ("message id", event.message_id),
        ("state", event.state),
        ("topic", f"{topic}  partition {event.partition}  offset {event.offset}"),
        ("due", format_time(event.schedule_ts)),
        *([] if event.expires_ts is None else [("expires", format_time(event.expires_ts))]),
        ("published", format_time(event.published_ts)),
        *([] if event.key is None else [("key", bytes_text(event.key))]),
        *(("meta", f"{name}={value}") for name, value in json_meta(event.meta).items()),
        ("payload", bytes_text(event.payload)),
    ]
