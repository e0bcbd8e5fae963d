"""`chronos schedule`: events that recur."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from chronosdb.client import Client, Schedule
from chronosdb.client.cli.context import App, Group, pass_app
from chronosdb.client.cli.output import counted
from chronosdb.client.cli.values import (
    bytes_fields,
    bytes_text,
    format_time,
    json_meta,
    parse_header,
    parse_time_ms,
    parsed_by,
)
from chronosdb.wire.units import format_duration, parse_duration_ms

F = TypeVar("F", bound=Callable[..., object])

_CATCH_UPS: Final = ("all", "latest", "none")


@click.group(cls=Group)
def schedule() -> None:
    """Publish events again and again: by cron, or at an interval."""


def _when(command: F) -> F:
    """The options that say when."""
    time = parsed_by(parse_time_ms)
    for option in (
        click.option("--end", "end", callback=time, help="Nothing from this time on."),
        click.option("--start", "start", callback=time, help="Nothing before this time."),
        click.option(
            "--fold",
            type=click.Choice(["first", "last", "both"]),
            default="first",
            show_default=True,
            help="Of a time that clocks show twice.",
        ),
        click.option(
            "--gap",
            type=click.Choice(["skip", "shift"]),
            default="skip",
            show_default=True,
            help="A time that no clock shows.",
        ),
        click.option("--tz", default="UTC", show_default=True, metavar="ZONE", help="For --cron."),
        click.option("--every", callback=_seconds(), metavar="SPAN", help="30s, 5m, 2h, 1d …"),
        click.option(
            "--cron", metavar="FIELDS", help='"30 8 * * MON-FRI"; 6 fields: seconds first.'
        ),
    ):
        command = option(command)
    return command


def _seconds() -> Callable[[click.Context, click.Parameter, Any], Any]:
    return parsed_by(lambda text: parse_duration_ms(text) / 1000)


def _catch_up(text: str) -> str | float:
    return text if text in _CATCH_UPS else parse_duration_ms(text) / 1000


@schedule.command()
@click.argument("name")
@click.argument("topic")
@click.argument("payload")
@_when
@click.option("--key", help="Of every event.")
@click.option("--meta", multiple=True, callback=parsed_by(parse_header), metavar="NAME=VALUE")
@click.option(
    "--catch-up",
    callback=parsed_by(_catch_up),
    default="all",
    show_default=True,
    metavar="[all|latest|none|SPAN]",
    help="What was missed; SPAN: not older than that.",
)
@click.option("--jitter", callback=_seconds(), default="0s", metavar="SPAN", help="Later by up to.")
@click.option("--paused", is_flag=True, help="Until it is resumed.")
@pass_app
def put(
    app: App,
    /,
    *,
    name: str,
    topic: str,
    payload: str,
    key: str | None,
    meta: tuple[tuple[str, str], ...],
    **facts: Any,
) -> None:
    """Publish PAYLOAD to TOPIC by the schedule NAME; replaces an earlier one of that name."""
    raw_key = None if key is None else os.fsencode(key)
    raw = os.fsencode(payload)
    found = app.run(
        lambda db: db.schedules.put(name, topic, raw, key=raw_key, meta=dict(meta), **facts)
    )
    _show(app, found)


@schedule.command("list")
@pass_app
def list_schedules(app: App) -> None:
    """List every schedule."""

    async def found(db: Client) -> list[Schedule]:
        return [one async for one in db.schedules.list()]

    schedules = app.run(found)
    if app.json:
        for one in schedules:
            app.output.json(_as_json(one))
        return
    rows = [(one.name, one.topic, _rule(one), _next(one)) for one in schedules]
    app.output.table(("schedule", "topic", "when", "next"), rows)


@schedule.command()
@click.argument("name")
@pass_app
def show(app: App, name: str) -> None:
    """Show the schedule NAME."""
    _show(app, app.run(lambda db: db.schedules.get(name)))


@schedule.command()
@click.argument("name")
@pass_app
def pause(app: App, name: str) -> None:
    """Stop the schedule NAME until it is resumed."""
    _show(app, app.run(lambda db: db.schedules.pause(name)))


@schedule.command()
@click.argument("name")
@pass_app
def resume(app: App, name: str) -> None:
    """Let the paused schedule NAME go on from now."""
    _show(app, app.run(lambda db: db.schedules.resume(name)))


@schedule.command()
@click.argument("name")
@pass_app
def delete(app: App, name: str) -> None:
    """Delete the schedule NAME."""
    app.run(lambda db: db.schedules.delete(name))
    if app.json:
        app.output.json({"schedule": name, "deleted": True})
    else:
        app.output.text([f"{name}: deleted"])


@schedule.command()
@click.argument("name", required=False)
@_when
@click.option("--after", callback=parsed_by(parse_time_ms), help="Behind this time, not now.")
@click.option("--count", type=click.IntRange(min=1), default=10, show_default=True)
@pass_app
def preview(app: App, /, name: str | None, count: int, **facts: Any) -> None:
    """Show when the schedule NAME recurs, or one of --cron or --every that need not exist."""
    if (name is None) == (facts["cron"] is None and facts["every"] is None):
        raise click.UsageError("give the NAME of a schedule, or --cron or --every")
    times = app.run(lambda db: db.schedules.preview(name, count=count, **facts))
    if app.json:
        for ms in times:
            app.output.json({"occurrence": ms})
        return
    app.output.text([format_time(ms) for ms in times])
    if len(times) < count:
        app.output.note(f"no more after {counted(len(times), 'occurrence')}")


def _show(app: App, one: Schedule) -> None:
    if app.json:
        app.output.json(_as_json(one))
        return
    rows: list[tuple[str, object]] = [
        ("schedule", one.name),
        ("topic", one.topic),
        ("when", _rule(one)),
        ("next", _next(one)),
        *([] if one.start_ts is None else [("start", format_time(one.start_ts))]),
        *([] if one.end_ts is None else [("end", format_time(one.end_ts))]),
        *([] if one.cron is None else [("clock change", f"gap {one.gap}, fold {one.fold}")]),
        ("catch up", one.catch_up if isinstance(one.catch_up, str) else _span(one.catch_up)),
        *([("jitter", _span(one.jitter))] if one.jitter else []),
        ("generation", one.generation),
        *([] if one.key is None else [("key", bytes_text(one.key))]),
        *(("meta", f"{name}={value}") for name, value in json_meta(one.meta).items()),
        ("payload", bytes_text(one.payload)),
    ]
    app.output.facts(rows)


def _rule(one: Schedule) -> str:
    if one.every is not None:
        return f"every {_span(one.every)}"
    return f"{one.cron} {one.tz}"


def _next(one: Schedule) -> str:
    if one.paused:
        return "paused"
    return "never" if one.next_ts is None else format_time(one.next_ts)


def _span(seconds: float) -> str:
    return format_duration(round(seconds * 1000))


def _as_json(one: Schedule) -> dict[str, Any]:
    return {
        "schedule": one.name,
        "topic": one.topic,
        "cron": one.cron,
        "every": one.every,
        "tz": one.tz,
        "gap": one.gap,
        "fold": one.fold,
        "start": one.start_ts,
        "end": one.end_ts,
        "catch_up": one.catch_up,
        "jitter": one.jitter,
        "paused": one.paused,
        "next": one.next_ts,
        "generation": one.generation,
        "put": one.put_ts,
        **bytes_fields("key", one.key),
        "meta": json_meta(one.meta),
        **bytes_fields("payload", one.payload),
    }
