"""`chronos publish`: one event from the command line, or many from JSON lines."""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import partial
from io import BufferedIOBase
from typing import Any, Final

import click

from chronosdb.client import Client, PublishResult
from chronosdb.client.arguments import ACKS
from chronosdb.client.cli.bulk import BulkPublisher, Tally
from chronosdb.client.cli.context import App, Command, pass_app
from chronosdb.client.cli.exits import Failure
from chronosdb.client.cli.output import counted
from chronosdb.client.cli.values import parse_header, parse_time_ms, parsed_by, struct_json
from chronosdb.client.seams import Seams
from chronosdb.wire.units import parse_duration_ms

_OF_ONE_EVENT: Final = (
    *("payload", "at_ms", "after_ms", "expires_at_ms", "expires_after_ms"),
    *("message_id", "key", "meta"),
)


#: The control character tells click to keep the lines of a paragraph.
_HELP: Final = """\
Publish PAYLOAD to TOPIC, or one event for each JSON line of a file. Without a time: due now.

\b
A line:  {"payload": "text", "id": "pay-42", "key": "u7",
          "at": "2030-01-31T08:00:00Z", "meta": {"k": "v"}}

Bytes that are not text go in "payload_b64" and "key_b64"; "at" may also be epoch ms; "after": "30s"
may stand instead of "at"; "expires_at" and "expires_after" as the options say.
"""


@click.command(cls=Command, help=_HELP)
@click.argument("topic")
@click.argument("payload", required=False)
@click.option(
    "--at",
    "at_ms",
    metavar="TIME",
    callback=parsed_by(parse_time_ms),
    help="Due at this time: ISO-8601 with a zone, or epoch ms.",
)
@click.option(
    "--after",
    "after_ms",
    metavar="DURATION",
    callback=parsed_by(parse_duration_ms),
    help="Due after 30s, 5m, 2h, 1d …",
)
@click.option(
    "--expires-at",
    "expires_at_ms",
    metavar="TIME",
    callback=parsed_by(parse_time_ms),
    help="Not delivered from this time on.",
)
@click.option(
    "--expires-after",
    "expires_after_ms",
    metavar="DURATION",
    callback=parsed_by(parse_duration_ms),
    help="Not delivered from so long after it is due on.",
)
@click.option("--id", "message_id", help="Message id; publishing it again stores nothing more.")
@click.option("--key", help="Events of one key are in one partition.")
@click.option(
    "--meta",
    metavar="NAME=VALUE",
    multiple=True,
    callback=parsed_by(parse_header),
    help="A header; may be given again.",
)
@click.option(
    "--acks",
    type=click.Choice(ACKS),
    help="Whose disks an event is to be on, instead of what the topic says.",
)
@click.option("--file", "source", type=click.File("rb"), help='JSON lines; "-" is stdin.')
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="At a line that is refused.",
)
@pass_app
def publish(
    app: App,
    /,
    topic: str,
    source: BufferedIOBase | None,
    on_error: str,
    acks: str | None,
    **of_one_event: Any,
) -> None:
    """One event or a file of them; `_HELP` is for users."""
    given = [name for name in _OF_ONE_EVENT if of_one_event[name] not in (None, ())]
    if source is not None:
        if given:
            raise click.UsageError("with --file each line says these itself: " + ", ".join(given))
        _publish_file(app, topic, source, acks, skip=on_error == "skip")
    elif "payload" not in given:
        raise click.UsageError("give a PAYLOAD, or --file FILE (--file - reads stdin)")
    else:
        _publish_one(app, topic, acks=acks, **of_one_event)


def _publish_one(
    app: App,
    topic: str,
    *,
    payload: str,
    at_ms: int | None,
    after_ms: int | None,
    expires_at_ms: int | None,
    expires_after_ms: int | None,
    message_id: str | None,
    key: str | None,
    meta: tuple[tuple[str, str], ...],
    acks: str | None,
) -> None:
    if at_ms is not None and after_ms is not None:
        raise click.UsageError("--at and --after exclude each other")
    if expires_at_ms is not None and expires_after_ms is not None:
        raise click.UsageError("--expires-at and --expires-after exclude each other")

    async def send(db: Client) -> PublishResult:
        return await db.publish(
            topic,
            os.fsencode(payload),
            message_id=message_id,
            key=None if key is None else os.fsencode(key),
            meta=dict(meta),
            at=at_ms,
            after=_seconds(after_ms),
            expires_at=expires_at_ms,
            expires_after=_seconds(expires_after_ms),
            acks=acks,
        )

    result = app.run(send)
    if app.json:
        app.output.json(struct_json(result))
        return
    duplicate = "  (duplicate: it was stored before)" if result.duplicate else ""
    place = f"partition {result.partition}  offset {result.offset}"
    app.output.text([f"{result.message_id}  {place}{duplicate}"])


def _publish_file(
    app: App, topic: str, source: BufferedIOBase, acks: str | None, *, skip: bool
) -> None:
    on_bad_line = app.output.note if skip else None

    async def send(db: Client) -> Tally:
        await db.topic(topic)  # a topic that does not exist is no fault of the first line
        store = partial(db.publish_many, topic, acks=acks)
        publisher = BulkPublisher(store, on_bad_line, Seams())
        try:
            with app.output.progress(f"publishing to {topic}", _size(source)) as advance:
                await publisher.publish(source, advance)
        finally:
            _report(app, topic, publisher.tally)
        return publisher.tally

    skipped = app.run(send).skipped
    if skipped:
        raise Failure(f"{counted(skipped, 'line')} refused and skipped, as named above")


def _report(app: App, topic: str, tally: Tally) -> None:
    if app.json:
        app.output.json({"topic": topic, **asdict(tally)})
        return
    duplicates = f", {tally.duplicates:,} of them stored before" if tally.duplicates else ""
    app.output.text([f"published {counted(tally.published, 'event')} to {topic}{duplicates}"])


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000


def _size(source: BufferedIOBase) -> int | None:
    """How many bytes are to come; None for a pipe or a terminal."""
    try:
        return os.fstat(source.fileno()).st_size or None
    except OSError:
        return None
