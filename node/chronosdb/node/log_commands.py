"""`chronos log`: look at a partition's log on disk, with or without a running node. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from typing import Any, Final

import click

from chronosdb.client.cli.context import App, Group, pass_app
from chronosdb.client.cli.exits import Exit, Failure
from chronosdb.client.cli.output import counted, json_line
from chronosdb.client.cli.values import bytes_fields, bytes_text, format_time
from chronosdb.node.partition import records
from chronosdb.node.partition.describing import describe
from chronosdb.wal import (
    Disk,
    Log,
    LogDamaged,
    LogOptions,
    OsDisk,
    Record,
    VerifyReport,
    WalError,
    layout,
    verify,
)

#: A data directory holds its logs this deep: worker-<n> / partitions / <topic id>-<partition>, the first if
#: there are workers.
_DEPTH_MAX: Final = 3

_DIRECTORY: Final = click.Path(exists=True, file_okay=False)


@click.group(cls=Group)
def log() -> None:
    """Verify and print logs on disk: of one partition, or of a whole data directory."""


@log.command("verify")
@click.argument("directory", metavar="DIR", type=_DIRECTORY)
@pass_app
def verify_logs(app: App, directory: str) -> None:
    """Read every byte of each log under DIR and report all damage; exit with 1 if there is any.

    Beside a running node the newest bytes may look torn: they are being written.
    """
    disk = OsDisk()
    logs = _logs_or_fail(disk, directory)
    sizes = {path: _log_bytes(disk, path) for path in logs}
    reports: list[VerifyReport] = []
    with app.output.progress("verifying", sum(sizes.values())) as advance:
        for path in logs:
            reports.append(_verify(disk, path))
            advance(sizes[path], path)
    for report in reports:
        if app.json:
            app.output.json({**asdict(report), "ok": report.ok})
        else:
            app.output.text(str(report).splitlines())
    damaged = sum(not report.ok for report in reports)
    if damaged:
        raise Failure(
            f"damage in {damaged} of {counted(len(logs), 'log')}; restore what is damaged from a copy"
        )


@log.command()
@click.argument("directory", metavar="DIR", type=_DIRECTORY)
@click.option("--from-offset", type=click.IntRange(min=0), help="Begin at the record that adds it.")
@click.option("--limit", type=click.IntRange(min=1), help="Print at most so many records.")
@click.option("--payload", is_flag=True, help="Show the payload of each event as well.")
@pass_app
def dump(
    app: App, directory: str, from_offset: int | None, limit: int | None, *, payload: bool
) -> None:
    """Print the records of the log in DIR, one on a line."""
    disk = OsDisk()
    path = _one_log(disk, directory)
    as_line = json_line if app.json else _as_text
    try:
        for record in islice(_scan(disk, path, from_offset), limit):
            app.output.text([as_line(_described(record, payload=payload, text=not app.json))])
    except WalError as error:
        raise Failure(f'{error}; "chronos log verify {path}" tells more') from None


def find_logs(disk: Disk, directory: str, depth: int = _DEPTH_MAX) -> list[str]:
    """Every directory at or below this one that holds segments, in order of name."""
    try:
        names = sorted(disk.listdir(directory))
    except NotADirectoryError:
        return []
    if any(layout.segment_base(name) is not None for name in names):
        return [directory]
    if depth == 0:
        return []
    inner = (find_logs(disk, layout.join(directory, name), depth - 1) for name in names)
    return [path for paths in inner for path in paths]


def _logs_or_fail(disk: Disk, directory: str) -> list[str]:
    logs = find_logs(disk, directory)
    if not logs:
        raise Failure(f"there is no log in {directory}", Exit.NOT_FOUND)
    return logs


def _one_log(disk: Disk, directory: str) -> str:
    logs = _logs_or_fail(disk, directory)
    if len(logs) > 1:
        raise click.UsageError(
            f"{directory} holds {counted(len(logs), 'log')}; name one: {', '.join(logs)}."
        )
    return logs[0]


def _log_bytes(disk: Disk, directory: str) -> int:
    names = [name for name in disk.listdir(directory) if layout.segment_base(name) is not None]
    return sum(disk.size(layout.join(directory, name)) for name in names)


def _verify(disk: Disk, directory: str) -> VerifyReport:
    try:
        return verify(disk, directory)
    except WalError as error:
        raise Failure(str(error)) from None


def _scan(disk: Disk, directory: str, from_offset: int | None) -> Iterator[Record]:
    reader = Log.open(disk, directory, LogOptions(), log_id=None, writable=False)
    try:
        start = None if from_offset is None else reader.at_offset(from_offset).lsn
        yield from reader.scan(start)
        if reader.recovery.damage:
            # Opening found it, and the scan ended before it.
            raise LogDamaged(reader.recovery)
    finally:
        reader.close()


def _described(record: Record, *, payload: bool, text: bool) -> dict[str, Any]:
    """What the header and the body say, in the order in which a reader wants it."""
    body = describe(record)
    if payload and record.kind == records.Kind.PUBLISH:
        batch = records.read_batch(record)
        for i, event in enumerate(body["events"]):
            raw = batch.payload(i)
            event.update({"payload": bytes_text(raw)} if text else bytes_fields("payload", raw))
    return {
        "lsn": record.lsn,
        "ts_ms": record.ts_ms,
        "kind": body.pop("kind"),
        "epoch": record.epoch,
        "offset": record.offset,
        "position": record.position,
        **body,
    }


def _as_text(described: dict[str, Any]) -> str:
    time, kind = format_time(described.pop("ts_ms")), described.pop("kind")
    return f"{described.pop('lsn'):>10}  {time}  {kind:<8} {json_line(described)}"
