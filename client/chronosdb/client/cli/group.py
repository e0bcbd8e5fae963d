"""`chronos group`: how far the groups of a topic are, and who is in them; reset, delete."""

from __future__ import annotations

from typing import Any

import click

from chronosdb.client import GroupInfo, GroupMove, GroupSummary
from chronosdb.client.cli.confirm import confirm
from chronosdb.client.cli.context import App, Group, pass_app
from chronosdb.client.cli.output import counted
from chronosdb.client.cli.values import format_age, format_time, parse_start, parsed_by, struct_json


@click.group(cls=Group)
def group() -> None:
    """Look at the groups of a topic; reset and delete them."""


@group.command("list")
@click.argument("topic")
@pass_app
def list_groups(app: App, topic: str) -> None:
    """List the groups of TOPIC."""
    groups = app.run(lambda db: db.groups(topic))
    if app.json:
        for summary in groups:
            app.output.json(_summary(topic, summary))
        return
    rows = [(g.name, g.mode, g.members, g.lag, format_time(g.created_ms)) for g in groups]
    app.output.table(("group", "mode", "members", "lag", "created"), rows)
    if groups and groups[0].unknown:
        app.output.note(f"without {counted(groups[0].unknown, 'partition')} that did not answer")


@group.command()
@click.argument("topic")
@click.argument("name", metavar="GROUP")
@pass_app
def show(app: App, topic: str, name: str) -> None:
    """Show the GROUP of TOPIC: its progress in each partition, and its members."""
    info = app.run(lambda db: db.group(topic, name))
    if app.json:
        app.output.json(_as_json(info))
        return
    facts = [
        ("group", f"{info.name} of topic {info.topic}"),
        ("mode", info.mode),
        ("created", format_time(info.created_ms)),
        ("generation", info.generation),
        ("lag", f"{counted(info.lag, 'event')}, the first due {format_age(info.lag_ms)} ago")
        if info.lag
        else ("lag", "none"),
    ]
    if info.unknown:
        facts.append(("unknown", f"partitions {', '.join(map(str, info.unknown))}: no answer"))
    app.output.facts(facts)
    app.output.text([""])
    app.output.table(
        ("partition", "position", "end", "lag", "behind", "leased", "retrying"),
        [
            (p.partition, p.position, p.end, p.lag, format_age(p.lag_ms), p.leased, p.retrying)
            for p in info.partitions
        ],
    )
    app.output.text([""])
    app.output.table(
        ("member", "client", "partitions", "leased", "credits"),
        [
            (m.id, m.client, ",".join(map(str, m.partitions)), m.leased, m.credits)
            for m in info.members
        ],
    )


@group.command()
@click.argument("topic")
@click.argument("name", metavar="GROUP")
@click.option(
    "--to",
    required=True,
    callback=parsed_by(parse_start),
    help='"earliest", "latest", or a time: what fired then or later.',
)
@click.option("--dry-run", is_flag=True, help="Only say what it would do.")
@click.option("--force", is_flag=True, help="Also while members are connected.")
@pass_app
def reset(app: App, topic: str, name: str, *, to: str | int, dry_run: bool, force: bool) -> None:
    """Let the GROUP of TOPIC begin again somewhere else.

    What it has settled after that place is delivered once more; attempts are counted anew.
    """
    moves = app.run(lambda db: db.reset_group(topic, name, to=to, dry_run=dry_run, force=force))
    if app.json:
        for move in moves:
            app.output.json(_move(topic, name, move, dry_run=dry_run))
        return
    rows = [(m.partition, m.old_position, m.new_position, m.lag) for m in moves]
    app.output.table(("partition", "old position", "new position", "lag"), rows)
    if dry_run:
        app.output.note("nothing was changed (--dry-run)")


@group.command()
@click.argument("topic")
@click.argument("name", metavar="GROUP")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_app
def delete(app: App, topic: str, name: str, yes: bool) -> None:
    """Forget the GROUP of TOPIC; one of that name that comes later begins anew."""
    confirm(f'Forget all progress of group "{name}" of topic "{topic}"?', yes=yes)
    app.run(lambda db: db.delete_group(topic, name))
    if app.json:
        app.output.json({"topic": topic, "group": name, "deleted": True})
    else:
        app.output.text([f'group "{name}" of topic "{topic}" was deleted'])


def _summary(topic: str, summary: GroupSummary) -> dict[str, Any]:
    return {
        "topic": topic,
        "group": summary.name,
        "mode": summary.mode,
        "members": summary.members,
        "lag": summary.lag,
        "unknown": summary.unknown,
        "created_ms": summary.created_ms,
    }


def _as_json(info: GroupInfo) -> dict[str, Any]:
    return {
        "topic": info.topic,
        "group": info.name,
        "mode": info.mode,
        "generation": info.generation,
        "lag": info.lag,
        "lag_ms": info.lag_ms,
        "unknown": info.unknown,
        "created_ms": info.created_ms,
        "partitions": list(map(struct_json, info.partitions)),
        "members": list(map(struct_json, info.members)),
    }


def _move(topic: str, name: str, move: GroupMove, *, dry_run: bool) -> dict[str, Any]:
    return {"topic": topic, "group": name, "dry_run": dry_run, **struct_json(move)}
