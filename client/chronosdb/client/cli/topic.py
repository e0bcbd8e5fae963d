"""`chronos topic`: create, list, show, delete."""

from __future__ import annotations

from typing import Any, Final

import click

from chronosdb.client import TopicInfo
from chronosdb.client.arguments import ACKS
from chronosdb.client.cli.confirm import confirm
from chronosdb.client.cli.context import App, Group, pass_app
from chronosdb.client.cli.values import format_time, parse_setting, parsed_by
from chronosdb.wire.limits import MAX_REPLICATION

_COPIES: Final = click.IntRange(1, MAX_REPLICATION)


@click.group(cls=Group)
def topic() -> None:
    """Create topics, look at them, delete them."""


@topic.command()
@click.argument("name")
@click.option("--partitions", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--replication", type=_COPIES, help="Copies of each partition, each at another node.")
@click.option("--min-insync", type=_COPIES, help="Copies that are in sync, at least.")
@click.option(
    "--acks",
    type=click.Choice(ACKS),
    help="Whose disks an event is to be on when it is acked: the leader's, those of a quorum of the"
    " copies in sync, or of all of them.",
)
@click.option(
    "--set",
    "settings",
    metavar="NAME=VALUE",
    multiple=True,
    callback=parsed_by(parse_setting),
    help="A setting of this topic instead of the node's: max_attempts=3, ack_timeout_ms=5m,"
    " backoff_ms, backoff_max_ms, dedup_window_ms=3d, retention=7d, retention_bytes=10GB, max_delay_ms=30d,"
    " max_pending=1000000. May be given again.",
)
@pass_app
def create(
    app: App, /, name: str, partitions: int, settings: tuple[tuple[str, int], ...], **safety: Any
) -> None:
    """Create the topic NAME, or confirm that it exists with these partitions and settings."""
    given: dict[str, Any] = dict(settings)
    given.update({word: value for word, value in safety.items() if value is not None})
    _show(app, app.run(lambda db: db.create_topic(name, partitions, **given)))


@topic.command("list")
@pass_app
def list_topics(app: App) -> None:
    """List every topic."""
    topics = app.run(lambda db: db.topics())
    if app.json:
        for info in topics:
            app.output.json(_as_json(info))
        return
    rows = [(info.name, info.partitions, format_time(info.created_ms)) for info in topics]
    app.output.table(("topic", "partitions", "created"), rows)


@topic.command()
@click.argument("name")
@pass_app
def show(app: App, name: str) -> None:
    """Show the topic NAME: partitions, settings, who leads what."""
    _show(app, app.run(lambda db: db.topic(name)))


@topic.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_app
def delete(app: App, name: str, yes: bool) -> None:
    """Delete the topic NAME with its groups and all its events, for good."""
    confirm(f'Delete topic "{name}" and all its events for good?', yes=yes)
    app.run(lambda db: db.delete_topic(name))
    if app.json:
        app.output.json({"topic": name, "deleted": True})
    else:
        app.output.text([f'topic "{name}" was deleted'])


def _show(app: App, info: TopicInfo) -> None:
    if app.json:
        app.output.json(_as_json(info))
        return
    rows: list[tuple[str, object]] = [
        ("topic", info.name),
        ("partitions", info.partitions),
        ("created", format_time(info.created_ms)),
        *sorted(info.settings.items()),
        *((f"leader of {n}", leader) for n, leader in enumerate(info.leaders) if leader),
    ]
    app.output.facts(rows)


def _as_json(info: TopicInfo) -> dict[str, Any]:
    return {
        "topic": info.name,
        "partitions": info.partitions,
        "settings": info.settings,
        "leaders": info.leaders,
        "created_ms": info.created_ms,
    }
