"""`chronos dlq`: events that used up their attempts; look at them, redrive them, give them up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from chronosdb.client import Client, DeadLetter
from chronosdb.client.cli.confirm import confirm
from chronosdb.client.cli.context import App, Group, pass_app
from chronosdb.client.cli.exits import Exit, Failure
from chronosdb.client.cli.output import counted
from chronosdb.client.cli.values import (
    bytes_fields,
    bytes_text,
    format_time,
    json_meta,
    parse_time_ms,
    parsed_by,
)

F = TypeVar("F", bound=Callable[..., object])


@click.group(cls=Group)
def dlq() -> None:
    """Deal with dead letters: events of a topic that used up their attempts."""


def _chosen(command: F) -> F:
    """The arguments that choose letters."""
    for choice in (
        click.option("--all", "everything", is_flag=True, help="Every letter."),
        click.option("--group", help="Only letters of this group."),
        click.argument("ids", metavar="[ID]...", nargs=-1),
        click.argument("topic"),
    ):
        command = choice(command)
    return command


@dlq.command("list")
@click.argument("topic")
@click.option("--group", help="Only letters of this group.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
@pass_app
def list_letters(app: App, topic: str, group: str | None, limit: int | None) -> None:
    """List the dead letters of TOPIC."""

    async def show(db: Client) -> int:
        shown = 0
        async for letter in db.dlq.list(topic, group=group, limit=limit):
            _line(app, letter)
            shown += 1
        return shown

    shown = app.run(show)
    if not app.json:
        app.output.note(counted(shown, "dead letter"))


@dlq.command()
@click.argument("topic")
@click.argument("message_id", metavar="ID")
@pass_app
def show(app: App, topic: str, message_id: str) -> None:
    """Show the dead letter ID of TOPIC: its own id, or that of its event."""
    letter = app.run(lambda db: db.dlq.inspect(topic, message_id))
    if letter is None:
        raise _not_found(topic, [message_id])
    if app.json:
        app.output.json(_as_json(letter))
    else:
        app.output.text([f"{name:<13}{value}" for name, value in _as_rows(letter)])


@dlq.command()
@_chosen
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Events a second.")
@pass_app
def redrive(
    app: App,
    topic: str,
    *,
    ids: tuple[str, ...],
    group: str | None,
    everything: bool,
    rate: float | None,
) -> None:
    """Publish the events once more, due now: the letters ID, those of --group, or --all.

    Every group of TOPIC gets them, under new ids.
    """
    _check_choice(ids, group, everything)
    chosen = ids or None
    count = app.run(lambda db: db.dlq.redrive(topic, ids=chosen, group=group, rate=rate))
    _report(app, topic, ids, "redriven", count)


@dlq.command()
@_chosen
@click.option(
    "--before", "before_ms", callback=parsed_by(parse_time_ms), help="Given up before this time."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_app
def purge(
    app: App,
    topic: str,
    *,
    ids: tuple[str, ...],
    group: str | None,
    everything: bool,
    before_ms: int | None,
    yes: bool,
) -> None:
    """Give letters up: the letters ID, those of --group, those --before a time, or --all."""
    _check_choice(ids, group, everything or before_ms is not None)
    confirm(f'Give up dead letters of topic "{topic}"?', yes=yes)
    chosen = ids or None
    count = app.run(lambda db: db.dlq.purge(topic, ids=chosen, group=group, before=before_ms))
    _report(app, topic, ids, "purged", count)


def _check_choice(ids: tuple[str, ...], group: str | None, everything: bool) -> None:
    if not ids and group is None and not everything:
        raise click.UsageError("say which letters: IDs, --group, or --all")


def _report(app: App, topic: str, ids: tuple[str, ...], outcome: str, count: int) -> None:
    if ids and not count:
        raise _not_found(topic, ids)
    if app.json:
        app.output.json({"topic": topic, outcome: count})
    else:
        app.output.text([f"{outcome} {counted(count, 'dead letter')}"])


def _not_found(topic: str, ids: tuple[str, ...] | list[str]) -> Failure:
    return Failure(f'topic "{topic}" has no dead letter {", ".join(ids)}', Exit.NOT_FOUND)


def _line(app: App, letter: DeadLetter) -> None:
    if app.json:
        app.output.json(_as_json(letter))
        return
    times = counted(letter.attempts, "attempt")
    when, who = format_time(letter.failed_ts), f"{letter.message_id}  group={letter.group}"
    app.output.text([f"{when}  {who}  {times}: {letter.reason}"])


def _as_json(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "message_id": letter.message_id,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "schedule_ts": letter.schedule_ts,
        "failed_ts": letter.failed_ts,
        "group": letter.group,
        "reason": letter.reason,
        "attempts": letter.attempts,
        **bytes_fields("key", letter.key),
        "meta": json_meta(letter.meta),
        **bytes_fields("payload", letter.payload),
    }


def _as_rows(letter: DeadLetter) -> list[tuple[str, object]]:
    return [
        ("letter", letter.id),
        ("message id", letter.message_id),
        ("topic", f"{letter.topic}  partition {letter.partition}  offset {letter.offset}"),
        ("due", format_time(letter.schedule_ts)),
        ("given up", f"{format_time(letter.failed_ts)} by group {letter.group}"),
        ("attempts", letter.attempts),
        ("reason", letter.reason),
        *([] if letter.key is None else [("key", bytes_text(letter.key))]),
        *(("meta", f"{name}={value}") for name, value in json_meta(letter.meta).items()),
        ("payload", bytes_text(letter.payload)),
    ]
